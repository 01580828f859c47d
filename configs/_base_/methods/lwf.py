# Learning without Forgetting, https://arxiv.org/abs/1606.09282, with the
# weight of MiB's repository.
method = dict(
    name='lwf',
    classifier_init='random',
    distillation=[dict(type='DistillationLoss', loss_weight=100.0)])
