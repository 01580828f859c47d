from .gpu import has_kernels
from .losses import FusedLosses, fused_losses, fused_unbiased_loss
from .objective import Objective, build_objective

__all__ = [
    'FusedLosses', 'Objective', 'build_objective', 'fused_losses',
    'fused_unbiased_loss', 'has_kernels'
]
