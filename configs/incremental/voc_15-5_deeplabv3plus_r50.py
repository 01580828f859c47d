_base_ = [
    '../_base_/models/deeplabv3plus_r50-d16.py',
    '../_base_/datasets/voc12aug.py', '../_base_/schedules/sgd_30e.py',
    '../_base_/methods/mib.py', '../_base_/incremental_runtime.py'
]
scenario = dict(task='15-5', setting='overlapped')
