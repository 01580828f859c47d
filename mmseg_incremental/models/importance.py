"""The importances of EWC, PI and RW, in the form of MiB's official code."""
from numbers import Real
from typing import Any, Dict, List

import torch
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_incremental.errors import IncrementalConfigError
from .weight_regularizer import BaseWeightRegularizer, scale_to_one


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
        return scale_to_one(state['fisher'])


@MODELS.register_module()
class PathIntegral(BaseWeightRegularizer):
    r"""Importance by the share in the decrease of the loss, PI.

    `Continual Learning Through Synaptic Intelligence
    <https://arxiv.org/abs/1703.04200>`_. With g the gradient, over the
    iterations k of a step

    .. math::
        \omega = \sum_k g_k (\theta_{k-1} - \theta_k), \quad
        \Omega = \sum_{steps} \max\left(0, \frac{\omega}{
        (\theta - \theta^*)^2 + 10^{-20}}\right)

    - ``mode='official'`` pairs a gradient with the change that came before
      it, as written above, which is what MiB's code does.
    - ``mode='paper'`` pairs it with the change it leads to:
      :math:`g_k (\theta_k - \theta_{k+1})`.

    Args:
        mode (str): 'official' or 'paper'. Defaults to 'official'.
        loss_weight (float): Weight of the penalty. Defaults to 500.0, that of
            MiB's official code.

    Raises:
        IncrementalConfigError: If ``mode`` is unknown.
    """

    buffers = dict(omega=0.0, path=0.0, previous=0.0, origin=0.0)
    carried = ('omega', )

    def __init__(self,
                 mode: str = 'official',
                 loss_weight: float = 500.0) -> None:
        super().__init__(loss_weight)
        if mode not in ('official', 'paper'):
            raise IncrementalConfigError(
                f"PathIntegral.mode={mode!r} is unknown; allowed are "
                "'official' and 'paper'.")
        self.mode = mode
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
            omega += (path / (delta.square() + 1e-20)).clamp_(min=0)

    def importance(self, state: Dict[str, List[Tensor]]) -> List[Tensor]:
        """The sum over the steps, scaled."""
        return scale_to_one(state['omega'])

    def _move(self, grads: List[Tensor]) -> None:
        previous = self.state['previous']
        change = torch._foreach_sub(previous, self.params)
        torch._foreach_addcmul_(self.state['path'], grads, change)
        torch._foreach_copy_(previous, self.params)


@MODELS.register_module()
class RiemannianWalk(ElasticWeightConsolidation):
    r"""Importance by Fisher information and path, RW.

    `Riemannian Walk for Incremental Learning
    <https://arxiv.org/abs/1801.10112>`_. Beside the F of
    :class:`ElasticWeightConsolidation`, every ``interval`` iterations

    .. math::
        s \leftarrow s + \frac{g (\theta_{prev} - \theta)}{\frac{1}{2} F
        (\theta - \theta_{prev})^2 + 10^{-8}}

    with F as of the iteration before.
    At the end of a step negative scores are set to 0 and the rest is averaged
    with the scores of the steps before; the importance is the sum of both,
    each scaled.

    Args:
        interval (int): Iterations from score to score. Defaults to 10.
        alpha (float): Weight of the new gradient in F. Defaults to 0.9.
        loss_weight (float): Weight of the penalty. Defaults to 100.0, that of
            MiB's official code.
    """

    buffers = dict(fisher=1.0, score=0.0, path=0.0, previous=0.0)
    carried = ('fisher', 'score')

    def __init__(self,
                 interval: int = 10,
                 alpha: float = 0.9,
                 loss_weight: float = 100.0) -> None:
        super().__init__(alpha, loss_weight)
        if not isinstance(interval, int) or interval < 1:
            raise IncrementalConfigError(
                f'RiemannianWalk.interval={interval!r} is no number of '
                'iterations; set it to an integer from 1 on.')
        self.interval = interval

    @torch.no_grad()
    def start(self, *args: Any, **kwargs: Any) -> None:
        """Begin a step, see the base class."""
        super().start(*args, **kwargs)
        torch._foreach_copy_(self.state['previous'], self.params)

    def observe(self, grads: List[Tensor]) -> None:
        """Let the gradients of an iteration in, and add to the path."""
        if (self.iteration - 1) % self.interval == 0:
            previous = self.state['previous']
            change = torch._foreach_sub(previous, self.params)
            gain = torch._foreach_mul(grads, change)
            cost = torch._foreach_mul(change, change)
            torch._foreach_mul_(cost, self.state['fisher'])
            torch._foreach_mul_(cost, 0.5)
            torch._foreach_add_(cost, 1e-8)
            torch._foreach_addcdiv_(self.state['path'], gain, cost)
            torch._foreach_copy_(previous, self.params)
        super().observe(grads)

    @torch.no_grad()
    def finish(self) -> None:
        """Average the scores of the step with those before."""
        path = [p.clamp(min=0) for p in self.state['path']]
        if self.omega is not None:
            torch._foreach_add_(path, self.state['score'])
            torch._foreach_mul_(path, 0.5)
        self.state['score'] = path

    def importance(self, state: Dict[str, List[Tensor]]) -> List[Tensor]:
        """The sum of Fisher information and score, each scaled."""
        return torch._foreach_add(super().importance(state),
                                  scale_to_one(state['score']))
