from .classifier_growth import GROWABLE_HEADS
from .classifier_init import CLASSIFIER_INITS
from .entropy_pseudo_labels import EntropyPseudoLabels
from .heads import INCREMENTAL_HEADS, IncrementalHeadMixin
from .label_completion import BaseLabelCompleter, CompletedLabels
from .losses import (BaseClassificationLoss, BaseDistillationLoss,
                     DistillationLoss, FeatureDistillationLoss, LocalPODLoss,
                     SigmoidCrossEntropyLoss, SigmoidDistillationLoss,
                     UnbiasedCrossEntropyLoss, UnbiasedDistillationLoss)
from .segmentor import (IncrementalCascadeEncoderDecoder,
                        IncrementalEncoderDecoder)
from .weight_fusion import BaseWeightFusion, EndpointsWeightFusion
from .weight_regularizers import (BaseWeightRegularizer,
                                  ElasticWeightConsolidation, PathIntegral,
                                  RiemannianWalk)

__all__ = [
    'BaseClassificationLoss', 'BaseDistillationLoss', 'BaseLabelCompleter',
    'BaseWeightFusion', 'BaseWeightRegularizer', 'CLASSIFIER_INITS',
    'CompletedLabels', 'DistillationLoss', 'ElasticWeightConsolidation',
    'EndpointsWeightFusion', 'EntropyPseudoLabels', 'FeatureDistillationLoss',
    'GROWABLE_HEADS', 'INCREMENTAL_HEADS', 'IncrementalCascadeEncoderDecoder',
    'IncrementalEncoderDecoder', 'IncrementalHeadMixin', 'LocalPODLoss',
    'PathIntegral', 'RiemannianWalk', 'SigmoidCrossEntropyLoss',
    'SigmoidDistillationLoss', 'UnbiasedCrossEntropyLoss',
    'UnbiasedDistillationLoss'
]
