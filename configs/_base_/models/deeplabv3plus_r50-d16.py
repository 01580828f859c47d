# DeepLabV3+ of MMSegmentation with ResNet-50, at output stride 16.
_base_ = 'mmseg::_base_/models/deeplabv3plus_r50-d8.py'
pretrained = 'open-mmlab://resnet50_v1c'
data_preprocessor = dict(size=(512, 512))
model = dict(
    type='IncrementalEncoderDecoder',
    data_preprocessor=data_preprocessor,
    pretrained=None,
    backbone=dict(
        dilations=(1, 1, 1, 2),
        strides=(1, 2, 2, 1),
        init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
    decode_head=dict(dilations=(1, 6, 12, 18), num_classes=21),
    # The published recipe has none.
    auxiliary_head=None)
