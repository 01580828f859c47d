# Ten short steps of one class in place of one long step of five; the rates are
# chosen on a held-out fifth of the training images.
_base_ = './voc_15-5_cpu.py'
scenario = dict(task='10-1')
# The weight of the paper at one class a step; the code's default is 10.
part_options = dict(UnbiasedDistillationLoss=dict(loss_weight=100.0))
method = dict(
    distillation=[dict(type='UnbiasedDistillationLoss', loss_weight=100.0)])
incremental_step = dict(
    optim_wrapper=dict(
        optimizer=dict(lr=0.00001),
        paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=30.0)))),
    param_scheduler=[
        dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=80)
    ],
    train_cfg=dict(max_iters=80))
