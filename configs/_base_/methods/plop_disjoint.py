# PLOP with the factors of VOC disjoint, where every pseudo-label is accepted.
_base_ = './plop.py'
method = dict(
    name='plop_disjoint',
    label_completion=dict(min_threshold=0.5),
    distillation=[
        dict(type='LocalPODLoss', feature_factor=0.01, logit_factor=0.0001)
    ])
