# Elastic Weight Consolidation, https://arxiv.org/abs/1612.00796, with the
# weight of MiB's repository.
method = dict(
    name='ewc',
    classifier_init='random',
    weight_regularizers=[
        dict(type='ElasticWeightConsolidation', loss_weight=500.0)
    ])
