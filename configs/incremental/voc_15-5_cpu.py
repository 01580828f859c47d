_base_ = [
    '../_base_/models/aspp_mobilenetv2-d16.py',
    '../_base_/datasets/voc12aug_256.py', '../_base_/schedules/cpu.py',
    '../_base_/methods/mib.py', '../_base_/incremental_runtime.py'
]
scenario = dict(task='15-5', setting='overlapped')
custom_hooks = [dict(type='ChannelsLastHook')]
