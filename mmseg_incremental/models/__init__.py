from .classifier_growth import GROWABLE_HEADS
from .classifier_init import CLASSIFIER_INITS
from .heads import INCREMENTAL_HEADS, IncrementalHeadMixin
from .losses import (DistillationLoss, UnbiasedCrossEntropyLoss,
                     UnbiasedDistillationLoss)
from .segmentor import (IncrementalCascadeEncoderDecoder,
                        IncrementalEncoderDecoder)

__all__ = [
    'CLASSIFIER_INITS', 'DistillationLoss', 'GROWABLE_HEADS',
    'INCREMENTAL_HEADS', 'IncrementalCascadeEncoderDecoder',
    'IncrementalEncoderDecoder', 'IncrementalHeadMixin',
    'UnbiasedCrossEntropyLoss', 'UnbiasedDistillationLoss'
]
