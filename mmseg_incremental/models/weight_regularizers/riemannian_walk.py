from typing import Any, Dict, List

import torch
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_incremental.errors import IncrementalConfigError
from .elastic_weight_consolidation import ElasticWeightConsolidation


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
    with the scores of the steps before, but for rows of new classes, which
    have none; the importance is the sum of F and s, each scaled.

    Args:
        interval (int): Iterations from score to score. Defaults to 10.
        alpha (float): Weight of the new gradient in F. Defaults to 0.9.
        loss_weight (float): Weight of the penalty. Defaults to 100.0, that of
            MiB's official code.
    """

    buffers = dict(fisher=1.0, score=0.0, path=0.0, previous=0.0)
    carried = ('fisher', 'score')
    arguments = ('interval', *ElasticWeightConsolidation.arguments)

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
        for new, old, rows in zip(path, self.state['score'], self.num_old):
            # New rows have no score to average with.
            known = new[:rows] if new.dim() else new
            if rows:
                known.add_(old[:rows] if old.dim() else old).mul_(0.5)
        self.state['score'] = path

    def importance(self, state: Dict[str, List[Tensor]]) -> List[Tensor]:
        """The sum of Fisher information and score, each scaled."""
        return torch._foreach_add(super().importance(state),
                                  self.scaled(state['score']))
