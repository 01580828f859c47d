# MobileNetV2 at output stride 16 with a narrow separable ASPP, for CPUs.
_base_ = './aspp.py'
pretrained = 'mmcls://mobilenet_v2'
data_preprocessor = dict(size=(192, 192))
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='MobileNetV2',
        widen_factor=1.0,
        strides=(1, 2, 2, 2, 1, 1, 1),
        dilations=(1, 1, 1, 1, 1, 2, 2),
        out_indices=(1, 2, 4, 6),
        norm_cfg=_base_.norm_cfg,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
    decode_head=dict(
        type='DepthwiseSeparableASPPHead',
        in_channels=320,
        channels=128,
        c1_in_channels=0,
        c1_channels=0))
