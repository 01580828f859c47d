from typing import List

import torch
from torch import Tensor


class QuadraticPenalty:
    r"""What holds weights where they are, each by its importance.

    .. math::
        \ell = \lambda \sum_i \Omega_i (\theta_i - \theta^*_i)^2

    A weight without a gradient of the losses, which no optimizer moves, has
    none of the penalty either; the backward pass of the official code gives
    it one.

    Args:
        loss_weight (float): :math:`\lambda`.
        params (list[Tensor]): The weights :math:`\theta` in training.
        omega (list[Tensor]): Their importances, in [0, 1]; those of
            :class:`RiemannianWalk`, a sum of two, in [0, 2].
        anchor (list[Tensor]): :math:`\theta^*`.
    """

    def __init__(self, loss_weight: float, params: List[Tensor],
                 omega: List[Tensor], anchor: List[Tensor]) -> None:
        self.loss_weight = loss_weight
        self.params = params
        self.omega = omega
        self.anchor = anchor

    @torch.no_grad()
    def pull_back(self) -> None:
        """Add the gradient of the penalty to the gradients there are."""
        used = [i for i, p in enumerate(self.params) if p.grad is not None]
        if self.loss_weight == 0 or not used:
            return
        pull = torch._foreach_sub([self.params[i] for i in used],
                                  [self.anchor[i] for i in used])
        torch._foreach_mul_(pull, [self.omega[i] for i in used])
        torch._foreach_add_([self.params[i].grad for i in used],
                            pull,
                            alpha=2 * self.loss_weight)

    @torch.no_grad()
    def value(self) -> float:
        """The penalty, for the log."""
        change = torch._foreach_sub(self.params, self.anchor)
        parts = [(o * c * c).sum() for o, c in zip(self.omega, change)]
        return self.loss_weight * torch.stack(parts).sum().item()

    @torch.no_grad()
    def important_share(self, above: float = 0.01) -> float:
        """How many of the weights are held, for the log.

        Args:
            above (float): The importance above which a weight counts.
                Defaults to 0.01.

        Returns:
            float: Share of the elements of all parameters, in [0, 1].
        """
        count = torch.stack([(o > above).sum() for o in self.omega]).sum()
        return count.item() / sum(o.numel() for o in self.omega)
