# Modeling the Background, https://arxiv.org/abs/2002.00718. The weight is
# the official default; the paper's VOC 15-1 used 100.
method = dict(
    name='mib',
    classifier_init='background',
    classification=dict(type='UnbiasedCrossEntropyLoss'),
    distillation=[dict(type='UnbiasedDistillationLoss', loss_weight=10.0)])
