# UPerNet of MMSegmentation with Swin-T; its auxiliary head grows as well.
_base_ = 'mmseg::_base_/models/upernet_swin.py'
pretrained = ('https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/'
              'swin/swin_tiny_patch4_window7_224_20220317-1cdeb081.pth')
data_preprocessor = dict(size=(512, 512))
model = dict(
    type='IncrementalEncoderDecoder',
    data_preprocessor=data_preprocessor,
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
    decode_head=dict(num_classes=21),
    auxiliary_head=dict(num_classes=21))
