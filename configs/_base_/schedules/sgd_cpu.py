# Short schedule for CPUs, chosen on a held-out fifth of the training images:
# the head learns ten times as fast as the pretrained backbone.
log_processor = dict(by_epoch=False)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='SGD', lr=0.005, momentum=0.9, weight_decay=0.0001,
        nesterov=True),
    paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10.0))))
param_scheduler = [
    dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=1500)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1500, val_interval=1500)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=500,
        save_last=False,
        max_keep_ckpts=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'))
incremental_step = dict(
    optim_wrapper=dict(optimizer=dict(lr=0.0005)),
    param_scheduler=[
        dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=400)
    ],
    train_cfg=dict(max_iters=400))
