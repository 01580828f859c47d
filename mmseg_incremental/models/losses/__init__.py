from .classification import (BaseClassificationLoss, SigmoidCrossEntropyLoss,
                             UnbiasedCrossEntropyLoss)
from .distillation import (BaseDistillationLoss, DistillationLoss,
                           SigmoidDistillationLoss, UnbiasedDistillationLoss,
                           distillation)
from .feature_distillation import FeatureDistillationLoss
from .fused import fused_unbiased_loss
from .local_pod import LocalPODLoss, local_pod
from .outputs import StepOutputs
from .sigmoid import sigmoid_cross_entropy, sigmoid_distillation
from .unbiased import unbiased_cross_entropy, unbiased_distillation

__all__ = [
    'BaseClassificationLoss', 'BaseDistillationLoss', 'DistillationLoss',
    'FeatureDistillationLoss', 'LocalPODLoss', 'SigmoidCrossEntropyLoss',
    'SigmoidDistillationLoss', 'StepOutputs', 'UnbiasedCrossEntropyLoss',
    'UnbiasedDistillationLoss', 'distillation', 'fused_unbiased_loss',
    'local_pod', 'sigmoid_cross_entropy', 'sigmoid_distillation',
    'unbiased_cross_entropy', 'unbiased_distillation'
]
