_base_ = './tiny_shapes.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='MobileNetV2',
        widen_factor=0.1,
        strides=(1, 2, 2, 2, 1, 1, 1),
        out_indices=(1, 2, 4, 6),
        norm_cfg=dict(type='BN')),
    decode_head=dict(
        type='DepthwiseSeparableASPPHead',
        in_channels=32,
        channels=8,
        c1_in_channels=0,
        c1_channels=0,
        norm_cfg=dict(type='BN')))
