# PLOP, https://arxiv.org/abs/2011.11390, with the factors of VOC overlapped.
method = dict(
    name='plop',
    classifier_init='background',
    label_completion=dict(type='EntropyPseudoLabels', mode='official'),
    distillation=[
        dict(type='LocalPODLoss', feature_factor=0.01, logit_factor=0.0005)
    ])
