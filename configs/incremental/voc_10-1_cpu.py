# Ten short steps of one class in place of one long step of five. The rate, and
# MiB's weight of 10, are chosen on a held-out fifth of the training images:
# with so few images a step, 100 follows the batch statistics and forgets more.
_base_ = './voc_15-5_cpu.py'
scenario = dict(task='10-1')
incremental_step = dict(
    optim_wrapper=dict(optimizer=dict(lr=0.002)),
    param_scheduler=[
        dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=80)
    ],
    train_cfg=dict(max_iters=80))
