# Short schedule for CPUs, chosen on a held-out fifth of the training images:
# the head learns ten times as fast as the pretrained backbone.
_base_ = './sgd_30e.py'
log_processor = dict(by_epoch=False)
optim_wrapper = dict(
    optimizer=dict(lr=0.005),
    paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10.0))))
param_scheduler = [
    dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=1500)
]
train_cfg = dict(
    _delete_=True,
    type='IterBasedTrainLoop',
    max_iters=1500,
    val_interval=1500)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=500))
incremental_step = dict(
    optim_wrapper=dict(optimizer=dict(lr=0.0005)),
    param_scheduler=[
        dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=400)
    ],
    train_cfg=dict(max_iters=400))
