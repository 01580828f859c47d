# PLOP with the factors of ADE20K.
_base_ = './plop.py'
method = dict(
    name='plop_ade',
    distillation=[
        dict(type='LocalPODLoss', feature_factor=0.001, logit_factor=1e-5)
    ])
