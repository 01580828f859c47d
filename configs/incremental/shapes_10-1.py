_base_ = [
    '../_base_/models/aspp_r18-w16-d8.py', '../_base_/datasets/shapes.py',
    '../_base_/schedules/shapes.py', '../_base_/methods/mib.py',
    '../_base_/incremental_runtime.py'
]
scenario = dict(task='10-1', setting='overlapped')
model = dict(data_preprocessor=dict(size=(128, 128)))
