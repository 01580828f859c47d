# The CPU preset with steps half as long again, short enough on a GPU to be
# repeated with several seeds. Images have many shapes at evaluation; cuDNN
# would search anew for each of them.
_base_ = './voc_15-1_cpu.py'
param_scheduler = [
    dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=6000)
]
train_cfg = dict(max_iters=6000, val_interval=6000)
incremental_step = dict(
    param_scheduler=[
        dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=720)
    ],
    train_cfg=dict(max_iters=720))
env_cfg = dict(cudnn_benchmark=False)
