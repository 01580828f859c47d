# The tiny run with an auxiliary head, in channels last memory format, with a
# checkpoint at every iteration and a learning rate that ends at no zero.
# Nothing is random, as MMEngine does not restore random generators.
_base_ = './tiny_shapes.py'
num_panel_images = 0
model = dict(
    decode_head=dict(dropout_ratio=0),
    auxiliary_head=dict(
        dropout_ratio=0,
        type='FCNHead',
        in_channels=64,
        in_index=2,
        channels=16,
        num_convs=1,
        num_classes=21,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4)))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
custom_hooks = [dict(type='ChannelsLastHook')]
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=-1))
incremental_step = dict(
    param_scheduler=[
        dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=6)
    ],
    train_cfg=dict(max_iters=3))
