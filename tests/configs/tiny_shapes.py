# Three steps of two or three iterations on 24 + 8 pictures of 64 pixels; the
# command line names data_root.
_base_ = '../../configs/incremental/shapes_10-1.py'
drawing = dict(num_train=24, num_val=8, size=64)
scenario = dict(task='18-1')
model = dict(data_preprocessor=dict(size=(64, 64)))
train_dataloader = dict(
    batch_size=4, num_workers=0, dataset=dict(dataset=drawing))
val_dataloader = dict(num_workers=0, dataset=dict(dataset=drawing))
test_dataloader = dict(num_workers=0, dataset=dict(dataset=drawing))
param_scheduler = [
    dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=3)
]
train_cfg = dict(max_iters=3, val_interval=3)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=3))
incremental_step = dict(
    param_scheduler=[
        dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=2)
    ],
    train_cfg=dict(max_iters=2))
