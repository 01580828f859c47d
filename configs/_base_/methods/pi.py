# Synaptic Intelligence or path integral, https://arxiv.org/abs/1703.04200,
# with the weight of MiB's repository.
method = dict(
    name='pi',
    classifier_init='random',
    weight_regularizers=[dict(type='PathIntegral', loss_weight=500.0)])
