# A data set of your own in the layout of Pascal VOC: road damage, of which
# three classes are learned at first and two are added later.
_base_ = [
    '../_base_/models/aspp_mobilenetv2-d16.py',
    '../_base_/datasets/voc12aug_256.py', '../_base_/schedules/cpu.py',
    '../_base_/methods/mib.py', '../_base_/incremental_runtime.py'
]
scenario = dict(
    task=[['crack', 'pothole', 'patch'], ['manhole', 'marking']],
    setting='overlapped')
data_root = 'data/mine'
train_set = dict(
    type='BaseSegDataset',
    data_root=data_root,
    # A mask holds the position of a class in this list; 255 is ignored.
    metainfo=dict(
        classes=('background', 'crack', 'pothole', 'patch', 'manhole',
                 'marking'),
        palette=[[0, 0, 0], [220, 20, 60], [255, 140, 0], [70, 130, 180],
                 [148, 0, 211], [240, 240, 240]]),
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    ann_file='ImageSets/Segmentation/train.txt',
    img_suffix='.jpg',
    seg_map_suffix='.png')
val_set = dict(train_set, ann_file='ImageSets/Segmentation/val.txt')
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='IncrementalDataset',
        dataset=train_set,
        pipeline=_base_.train_pipeline))
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='IncrementalDataset',
        dataset=val_set,
        pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
