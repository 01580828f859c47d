# MiB and the penalty of EWC.
_base_ = './mib.py'
method = dict(
    name='mib_ewc',
    weight_regularizers=[
        dict(type='ElasticWeightConsolidation', loss_weight=500.0)
    ])
