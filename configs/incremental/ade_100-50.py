_base_ = [
    '../_base_/models/aspp_r101-d16.py', '../_base_/datasets/ade20k.py',
    '../_base_/schedules/sgd_60e.py', '../_base_/methods/mib.py',
    '../_base_/incremental_runtime.py'
]
scenario = dict(task='100-50', setting='overlapped')
