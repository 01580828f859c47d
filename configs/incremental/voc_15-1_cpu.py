# Steps of one class as in 10-1, but three times as long: on held-out images,
# 160 iterations did not tell the first of these classes, pottedplant, from
# the background.
_base_ = './voc_10-1_cpu.py'
scenario = dict(task='15-1')
incremental_step = dict(
    param_scheduler=[
        dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=480)
    ],
    train_cfg=dict(max_iters=480))
