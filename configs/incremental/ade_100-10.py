_base_ = './ade_100-50.py'
scenario = dict(task='100-10')
