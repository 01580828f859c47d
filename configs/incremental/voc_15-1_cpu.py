# Rates, weight and number of iterations of 10-1, not searched for 15-1.
_base_ = './voc_10-1_cpu.py'
scenario = dict(task='15-1')
