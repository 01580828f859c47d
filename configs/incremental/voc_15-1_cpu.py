_base_ = './voc_10-1_cpu.py'
scenario = dict(task='15-1')
