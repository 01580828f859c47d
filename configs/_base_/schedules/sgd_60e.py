# ADE20K: twice the epochs of VOC.
_base_ = './sgd_30e.py'
param_scheduler = [
    dict(
        type='PolyLR',
        eta_min=0.0,
        power=0.9,
        begin=0,
        end=60,
        by_epoch=True,
        convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=60, val_interval=60)
