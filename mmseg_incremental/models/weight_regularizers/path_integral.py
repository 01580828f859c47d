import math
from numbers import Real
from typing import Any, Dict, List

import torch
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_incremental.errors import IncrementalConfigError
from .base import BaseWeightRegularizer


@MODELS.register_module()
class PathIntegral(BaseWeightRegularizer):
    r"""Importance by the share in the decrease of the loss, PI.

    `Continual Learning Through Synaptic Intelligence
    <https://arxiv.org/abs/1703.04200>`_. With g the gradient, over the
    iterations k of a step

    .. math::
        \omega = \sum_k g_k (\theta_{k-1} - \theta_k), \quad
        \Omega = \sum_{steps} \max\left(0, \frac{\omega}{
        (\theta - \theta^*)^2 + \xi}\right)

    - ``mode='official'`` pairs a gradient with the change that came before
      it, as written above, which is what MiB's code does.
    - ``mode='paper'`` pairs it with the change it leads to:
      :math:`g_k (\theta_k - \theta_{k+1})`.

    Args:
        mode (str): 'official' or 'paper'. Defaults to 'official'.
        loss_weight (float): Weight of the penalty. Defaults to 500.0, that of
            MiB's official code.
        damping (float): xi > 0. Defaults to 1e-20, as in MiB's official code,
            with which weights that hardly move are the most important ones by
            far; the paper chooses a larger one for each of its tasks.

    Raises:
        IncrementalConfigError: If ``mode`` is unknown or ``damping`` no
            finite number > 0.
    """

    buffers = dict(omega=0.0, path=0.0, previous=0.0, origin=0.0)
    carried = ('omega', )
    arguments = ('mode', 'damping')

    def __init__(self,
                 mode: str = 'official',
                 loss_weight: float = 500.0,
                 damping: float = 1e-20) -> None:
        super().__init__(loss_weight)
        if mode not in ('official', 'paper'):
            raise IncrementalConfigError(
                f"PathIntegral.mode={mode!r} is unknown; allowed are "
                "'official' and 'paper'.")
        if not isinstance(damping, Real) or not 0 < damping < math.inf:
            raise IncrementalConfigError(
                f'PathIntegral.damping={damping!r} is no finite number > 0; '
                'leave it out for that of the official code.')
        self.mode = mode
        self.damping = damping
        if mode == 'paper':
            self.buffers = dict(self.buffers, gradient=0.0)

    @torch.no_grad()
    def start(self, *args: Any, **kwargs: Any) -> None:
        """Begin a step, see the base class."""
        super().start(*args, **kwargs)
        for name in ('previous', 'origin'):
            torch._foreach_copy_(self.state[name], self.params)

    def observe(self, grads: List[Tensor]) -> None:
        """Add to the path what the loss has decreased by."""
        if self.mode == 'official':
            self._move(grads)
        else:
            self._move(self.state['gradient'])
            torch._foreach_copy_(self.state['gradient'], grads)

    @torch.no_grad()
    def finish(self) -> None:
        """Add the path of the step to the importance."""
        if self.mode == 'paper':
            self._move(self.state['gradient'])
        change = torch._foreach_sub(self.params, self.state['origin'])
        for omega, path, delta in zip(self.state['omega'], self.state['path'],
                                      change):
            omega += (path / (delta.square() + self.damping)).clamp_(min=0)

    def importance(self, state: Dict[str, List[Tensor]]) -> List[Tensor]:
        """The sum over the steps, scaled."""
        return self.scaled(state['omega'])

    def _move(self, grads: List[Tensor]) -> None:
        previous = self.state['previous']
        change = torch._foreach_sub(previous, self.params)
        torch._foreach_addcmul_(self.state['path'], grads, change)
        torch._foreach_copy_(previous, self.params)
