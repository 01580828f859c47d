# Ten steps of one class in place of one step of five. Rates, length and the
# weight of MiB's distillation are chosen on a held-out fifth of the training
# images: with the paper's weight of 100 for one class a step, a new class is
# not told from the background in steps as short as these.
_base_ = './voc_15-5_cpu.py'
scenario = dict(task='10-1')
incremental_step = dict(
    optim_wrapper=dict(
        optimizer=dict(lr=0.00001),
        paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=30.0)))),
    param_scheduler=[
        dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=160)
    ],
    train_cfg=dict(max_iters=160))
