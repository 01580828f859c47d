# MiB and the features' distillation of PLOP.
_base_ = './mib.py'
method = dict(
    name='mib_pod',
    distillation=[
        dict(type='UnbiasedDistillationLoss', loss_weight=10.0),
        dict(type='LocalPODLoss', feature_factor=0.01, logit_factor=0.0005)
    ])
