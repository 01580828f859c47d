# ADE20K: 20,210 training and 2,000 validation images, 150 classes and label 0
# ("anything else") in the part of the background. Pipelines and batch size are
# those of VOC.
_base_ = './voc12aug.py'
data_root = 'data/ade/ADEChallengeData2016'
# PLOP's factors.
part_options = dict(
    _delete_=True,
    LocalPODLoss=dict(feature_factor=0.001, logit_factor=0.00001))
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='IncrementalADE20KDataset',
        data_root=data_root,
        data_prefix=dict(
            img_path='images/training', seg_map_path='annotations/training'),
        pipeline=_base_.train_pipeline))
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='IncrementalADE20KDataset',
        data_root=data_root,
        data_prefix=dict(
            img_path='images/validation',
            seg_map_path='annotations/validation'),
        pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader
