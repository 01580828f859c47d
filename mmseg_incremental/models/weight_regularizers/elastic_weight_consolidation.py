from numbers import Real
from typing import Dict, List

import torch
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_incremental.errors import IncrementalConfigError
from .base import BaseWeightRegularizer


@MODELS.register_module()
class ElasticWeightConsolidation(BaseWeightRegularizer):
    r"""Importance by the Fisher information, EWC.

    `Overcoming catastrophic forgetting in neural networks
    <https://arxiv.org/abs/1612.00796>`_, with the running estimate of `RW
    <https://arxiv.org/abs/1801.10112>`_ in place of a pass over the data.
    With g the gradient of a batch, at every iteration

    .. math::
        F \leftarrow \alpha g^2 + (1 - \alpha) F

    from F = 1 on; it goes on through all steps. The official code's
    :math:`\alpha` of 0.9 belongs to the new gradient, so that F remembers
    little more than the last iteration. The paper's Fisher information is of
    single samples and not of batches.

    Args:
        alpha (float): Weight of the new gradient. Defaults to 0.9.
        loss_weight (float): Weight of the penalty. Defaults to 500.0, that of
            MiB's official code.
    """

    buffers = dict(fisher=1.0)
    carried = ('fisher', )
    arguments = ('alpha', )

    def __init__(self, alpha: float = 0.9, loss_weight: float = 500.0) -> None:
        super().__init__(loss_weight)
        if not isinstance(alpha, Real) or not 0 < alpha <= 1:
            raise IncrementalConfigError(
                f'{type(self).__name__}.alpha={alpha!r} is no share; set it '
                'to a number above 0 and up to 1.')
        self.alpha = alpha

    def observe(self, grads: List[Tensor]) -> None:
        """Let the gradients of an iteration into the running estimate."""
        fisher = self.state['fisher']
        torch._foreach_mul_(fisher, 1 - self.alpha)
        torch._foreach_addcmul_(fisher, grads, grads, value=self.alpha)

    def importance(self, state: Dict[str, List[Tensor]]) -> List[Tensor]:
        """The Fisher information, scaled."""
        return self.scaled(state['fisher'])
