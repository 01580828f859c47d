_base_ = './tiny_shapes.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        embed_dims=4,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=4),
    decode_head=dict(
        _delete_=True,
        type='UPerHead',
        in_channels=[4, 8, 16, 32],
        in_index=[0, 1, 2, 3],
        channels=8,
        num_classes=21,
        norm_cfg=dict(type='BN')),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=16,
        in_index=2,
        channels=8,
        num_convs=1,
        num_classes=21,
        norm_cfg=dict(type='BN'),
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4)))
