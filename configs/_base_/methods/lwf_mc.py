# LwF with a sigmoid a class, iCaRL (https://arxiv.org/abs/1611.07725) without
# exemplars, from step 0 on.
method = dict(
    name='lwf_mc',
    classifier_init='random',
    base_classification=dict(type='SigmoidCrossEntropyLoss'),
    classification=dict(type='SigmoidCrossEntropyLoss'),
    distillation=[dict(type='SigmoidDistillationLoss', loss_weight=10.0)])
