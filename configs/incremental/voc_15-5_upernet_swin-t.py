_base_ = [
    '../_base_/models/upernet_swin-t.py', '../_base_/datasets/voc12aug.py',
    '../_base_/schedules/adamw_30e.py', '../_base_/methods/mib.py',
    '../_base_/incremental_runtime.py'
]
scenario = dict(task='15-5', setting='overlapped')
