# Riemannian Walk, https://arxiv.org/abs/1801.10112, with the weight of MiB's
# repository.
method = dict(
    name='rw',
    classifier_init='random',
    weight_regularizers=[dict(type='RiemannianWalk', loss_weight=100.0)])
