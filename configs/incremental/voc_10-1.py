_base_ = './voc_15-1.py'
scenario = dict(task='10-1')
