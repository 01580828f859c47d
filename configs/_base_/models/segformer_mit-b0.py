# SegFormer of MMSegmentation with MiT-B0.
_base_ = 'mmseg::_base_/models/segformer_mit-b0.py'
pretrained = ('https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/'
              'segformer/mit_b0_20220624-7e0fe6dd.pth')
data_preprocessor = dict(size=(512, 512))
model = dict(
    type='IncrementalEncoderDecoder',
    data_preprocessor=data_preprocessor,
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
    decode_head=dict(num_classes=21))
