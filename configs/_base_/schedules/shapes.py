log_processor = dict(by_epoch=False)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='SGD', lr=0.25, momentum=0.9, weight_decay=0.0001, nesterov=True))
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
train_cfg = dict(type='IterBasedTrainLoop', max_iters=700, val_interval=700)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=100,
        save_last=False,
        max_keep_ckpts=1),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'))
incremental_step = dict(
    optim_wrapper=dict(optimizer=dict(lr=0.02)),
    param_scheduler=[
        dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=60)
    ],
    train_cfg=dict(max_iters=60))
