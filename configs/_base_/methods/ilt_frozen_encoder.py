# ILT with its encoder frozen (E_F), https://arxiv.org/abs/1907.13372, in place
# of the distillation of features. Teacher and student share the encoder.
method = dict(
    name='ilt_frozen_encoder',
    classifier_init='random',
    frozen_encoder=True,
    distillation=[dict(type='DistillationLoss', loss_weight=100.0)])
