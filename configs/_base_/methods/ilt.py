# Incremental Learning Techniques, https://arxiv.org/abs/1907.13372, in the
# form of MiB's repository: output and feature distillation together.
method = dict(
    name='ilt',
    classifier_init='random',
    distillation=[
        dict(type='DistillationLoss', loss_weight=100.0),
        dict(type='FeatureDistillationLoss', loss_weight=100.0)
    ])
