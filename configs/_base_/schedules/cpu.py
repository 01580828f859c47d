# Short schedule for CPUs; rates are chosen on a held-out fifth of the training
# images. The head learns ten times as fast as the pretrained backbone. Later
# steps have images of few classes: BatchNorm keeps its statistics, which such
# batches would shift. Without batch statistics some channels of MobileNetV2
# have gradients with which SGD diverges; AdamW scales them.
_base_ = './sgd_30e.py'
log_processor = dict(by_epoch=False)
optim_wrapper = dict(
    optimizer=dict(lr=0.005),
    paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10.0))))
param_scheduler = [
    dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=4000)
]
train_cfg = dict(
    _delete_=True,
    type='IterBasedTrainLoop',
    max_iters=4000,
    val_interval=4000)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=500))
incremental_step = dict(
    model=dict(norm_eval=True),
    optim_wrapper=dict(
        optimizer=dict(type='AdamW', lr=0.00005, weight_decay=0.0001)),
    param_scheduler=[
        dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=600)
    ],
    train_cfg=dict(max_iters=600))
