# The model, images of short side 256 and rates of the CPU preset for a GPU, in
# the published batch of 24: on the VOC subset 2,500 and 600 iterations are 67
# epochs of the base classes and 37 of the new ones, where the CPU preset has
# 36 and 12.
_base_ = './voc_15-5_cpu.py'
train_dataloader = dict(batch_size=24, num_workers=4)
param_scheduler = [
    dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=2500)
]
train_cfg = dict(max_iters=2500, val_interval=2500)
# Channels-last does not pay here in single precision.
custom_hooks = []
