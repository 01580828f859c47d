_base_ = './voc_15-5_cpu.py'
scenario = dict(task='10-1')
