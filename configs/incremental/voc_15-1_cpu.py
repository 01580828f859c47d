# Five steps of one class in place of one step of five, as in 10-1 but three
# times as long: the first of these classes, pottedplant, is not told from the
# background in less.
_base_ = './voc_10-1_cpu.py'
scenario = dict(task='15-1')
incremental_step = dict(
    param_scheduler=[
        dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=480)
    ],
    train_cfg=dict(max_iters=480))
