from .distillation import (BaseDistillationLoss, DistillationLoss,
                           UnbiasedDistillationLoss, distillation)
from .outputs import StepOutputs
from .unbiased import unbiased_cross_entropy, unbiased_distillation
from .unbiased_cross_entropy_loss import UnbiasedCrossEntropyLoss

__all__ = [
    'BaseDistillationLoss', 'DistillationLoss', 'StepOutputs',
    'UnbiasedCrossEntropyLoss', 'UnbiasedDistillationLoss', 'distillation',
    'unbiased_cross_entropy', 'unbiased_distillation'
]
