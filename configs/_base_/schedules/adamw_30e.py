# AdamW for transformers, as SegFormer and Swin use it, over 30 epochs a step:
# one epoch of warm-up, then linear decay to zero.
_base_ = './sgd_30e.py'
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(
        type='AdamW', lr=0.00006, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys={
            'absolute_pos_embed': dict(decay_mult=0.),
            'relative_position_bias_table': dict(decay_mult=0.),
            'norm': dict(decay_mult=0.),
            'head': dict(lr_mult=10.)
        }))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-6,
        begin=0,
        end=1,
        by_epoch=True,
        convert_to_iter_based=True),
    dict(
        type='PolyLR',
        eta_min=0.0,
        power=1.0,
        begin=1,
        end=30,
        by_epoch=True,
        convert_to_iter_based=True)
]
incremental_step = dict(optim_wrapper=dict(optimizer=dict(lr=0.000006)))
