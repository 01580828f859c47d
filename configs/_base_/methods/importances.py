# Fine-tuning that gathers what ewc, pi and rw want to know of step 0, so that
# one base checkpoint serves all methods.
method = dict(
    name='importances',
    keeps_weights=True,
    classifier_init='random',
    weight_regularizers=[
        dict(type='ElasticWeightConsolidation', loss_weight=0.0),
        dict(type='PathIntegral', loss_weight=0.0),
        dict(type='RiemannianWalk', loss_weight=0.0)
    ])
