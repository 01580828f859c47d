# VOC 2012 with the masks of SBD: 10,582 training and 1,449 validation images.
data_root = 'data/VOCdevkit/VOC2012'
# PLOP's factors for the disjoint setting, where it takes every pseudo-label.
part_options = dict(
    disjoint=dict(
        LocalPODLoss=dict(logit_factor=0.0001),
        EntropyPseudoLabels=dict(min_threshold=0.5)))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='AreaRandomResizedCrop', size=512),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs')
]
# The published evaluation: short side to 512, centre crop.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='ResizeCenterCrop', size=512),
    dict(type='PackSegInputs')
]
# 24 images in all: divide by the number of GPUs.
train_dataloader = dict(
    batch_size=24,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='IncrementalPascalVOCDataset',
        data_root=data_root,
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
        ann_file='ImageSets/Segmentation/train_aug.txt',
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='IncrementalPascalVOCDataset',
        data_root=data_root,
        data_prefix=dict(
            img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='IncrementalIoUMetric')
test_evaluator = val_evaluator
