# Iterations in place of epochs, for the drawn shapes: warm-up, then poly.
_base_ = './sgd_30e.py'
log_processor = dict(by_epoch=False)
optim_wrapper = dict(optimizer=dict(lr=0.25))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.02, by_epoch=False, begin=0, end=50),
    dict(
        type='PolyLR',
        eta_min=0.0,
        power=0.9,
        by_epoch=False,
        begin=50,
        end=700)
]
train_cfg = dict(
    _delete_=True, type='IterBasedTrainLoop', max_iters=700, val_interval=700)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=100))
incremental_step = dict(
    optim_wrapper=dict(optimizer=dict(lr=0.02)),
    param_scheduler=[
        dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=60)
    ],
    train_cfg=dict(max_iters=60))
