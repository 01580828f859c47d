# The tiny run with a method of every kind of part, and EMA.
_base_ = './tiny_shapes.py'
num_panel_images = 0
custom_hooks = [dict(type='EMAHook')]
method = dict(
    _delete_=True,
    name='all_parts',
    base_classification=dict(type='SigmoidCrossEntropyLoss'),
    classification=dict(type='SigmoidCrossEntropyLoss'),
    classifier_init='background',
    distillation=[
        dict(type='SigmoidDistillationLoss', loss_weight=1.0),
        dict(type='FeatureDistillationLoss', loss_weight=1.0),
        dict(type='LocalPODLoss')
    ],
    label_completion=dict(type='EntropyPseudoLabels', mode='paper'),
    weight_regularizers=[
        dict(type='ElasticWeightConsolidation', loss_weight=1.0),
        dict(type='PathIntegral', loss_weight=1.0),
        dict(type='RiemannianWalk', interval=1, loss_weight=1.0)
    ],
    fixed_old_classifier=True,
    weight_fusion=dict(type='EndpointsWeightFusion'))
