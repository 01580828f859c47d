# The model and rates of the CPU preset in a longer schedule, for a GPU: the
# published batch of 24, 67 epochs of the base classes and 36 of the new ones
# on the VOC subset.
_base_ = './voc_15-5_cpu.py'
train_dataloader = dict(batch_size=24, num_workers=4)
param_scheduler = [
    dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=2500)
]
train_cfg = dict(max_iters=2500, val_interval=2500)
# Channels-last does not pay here in single precision.
custom_hooks = []
