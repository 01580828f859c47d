# DeepLabV3 of MiB and its successors: ResNet-101 at output stride 16, ASPP.
# Their InPlaceABN with leaky ReLU is SyncBN with ReLU here.
_base_ = './aspp.py'
# torchvision's ImageNet weights, without the need of torchvision.
pretrained = 'https://download.pytorch.org/models/resnet101-63fe2227.pth'
data_preprocessor = dict(size=(512, 512))
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='ResNet',
        depth=101,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        dilations=(1, 1, 1, 2),
        strides=(1, 2, 2, 1),
        norm_cfg=_base_.norm_cfg,
        norm_eval=False,
        style='pytorch',
        contract_dilation=False,
        init_cfg=dict(type='Pretrained', checkpoint=pretrained)),
    decode_head=dict(in_channels=2048, channels=256, dropout_ratio=0))
