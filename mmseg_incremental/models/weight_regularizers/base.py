"""Penalties on changes of the weights that the old classes need."""
from abc import ABCMeta, abstractmethod
from typing import Dict, List, Optional, Tuple

import torch
from torch import Tensor

from mmseg_incremental.errors import IncrementalConfigError
from ..losses.utils import check_loss_weight
from .quadratic import QuadraticPenalty
from .tensors import count_rows, is_part, pad, scale_to_one

# One tensor a parameter, by the name of the parameter.
NamedTensors = Dict[str, Tensor]


class BaseWeightRegularizer(metaclass=ABCMeta):
    r"""Base class of quadratic penalties on important weights.

    A :class:`QuadraticPenalty` holds the weights where the step starts. Each
    importance :math:`\Omega` is scaled to [0, 1] tensor by tensor, and in the
    classifier step by step, since each step's classifier is a tensor of its
    own in MiB's official code. The gradient is added to that of the
    losses right before the optimizer uses it: it costs no backward, and is the
    same under mixed precision, with accumulated gradients and on every rank.
    Gradient clipping comes before: it does not see the penalty, and what is
    gathered is of the clipped gradients.

    With SGD the step it makes of a weight is the learning rate times
    :math:`2 \lambda \Omega` of the way back. With a momentum of 0.9 this
    diverges from 3.8 on, with Nesterov's from about 1.36: the published
    weights of 500 belong to a learning rate of 0.001. Adam and its kin scale
    it with the gradient of the losses.

    A subclass names in ``buffers`` what it gathers, one tensor a parameter,
    in ``carried`` what the next step needs of it, and in ``arguments`` what
    of its own this depends on.

    Args:
        loss_weight (float): :math:`\lambda`, the weight of the penalty.

    Raises:
        IncrementalConfigError: If ``loss_weight`` is not a finite number
            >= 0.
    """

    buffers: Dict[str, float] = {}
    """Names of the buffers, and what their elements start with."""
    carried: Tuple[str, ...] = ()
    """The buffers that go on into the next step; the others start anew."""
    arguments: Tuple[str, ...] = ()
    """Arguments without which what is carried cannot be gone on with."""

    def __init__(self, loss_weight: float) -> None:
        self.loss_weight = check_loss_weight(loss_weight, type(self).__name__)
        self.iteration = 0
        self.params: List[Tensor] = []
        self.names: List[str] = []
        self.state: Dict[str, List[Tensor]] = {}
        self.num_old: List[int] = []
        # Rows that each step has brought, of every parameter.
        self.parts: List[List[int]] = []
        self.quadratic: Optional[QuadraticPenalty] = None

    @property
    def settings(self) -> dict:
        """dict: The values of ``arguments``, kept with what is carried."""
        return {name: getattr(self, name) for name in self.arguments}

    @abstractmethod
    def observe(self, grads: List[Tensor]) -> None:
        """Gather what an iteration tells, before the optimizer's step.

        Args:
            grads (list[Tensor]): Gradients of the losses, in the order of
                ``self.params``.
        """

    @abstractmethod
    def importance(self, state: Dict[str, List[Tensor]]) -> List[Tensor]:
        """Importance of the weights at the end of a step, by :meth:`scaled`.

        Args:
            state (dict[str, list[Tensor]]): The buffers that are carried.

        Returns:
            list[Tensor]: One tensor a parameter.
        """

    def scaled(self, tensors: List[Tensor]) -> List[Tensor]:
        """Scale to [0, 1], what each step has brought on its own.

        Args:
            tensors (list[Tensor]): A buffer that is carried.

        Returns:
            list[Tensor]: New tensors.
        """
        return scale_to_one(tensors, self.parts)

    def finish(self) -> None:
        """Bring the carried buffers up to date at the end of a step."""

    @torch.no_grad()
    def start(self,
              params: NamedTensors,
              carried: Optional[Dict[str, NamedTensors]] = None,
              anchor: Optional[NamedTensors] = None) -> None:
        """Begin a step.

        Args:
            params (dict[str, Tensor]): The parameters in training.
            carried (dict, optional): What :meth:`state_dict` gave at the end
                of the step before. Defaults to None, for step 0.
            anchor (dict[str, Tensor], optional): The weights of the step
                before, grown as those the step starts from. Defaults to
                None, for step 0.

        Raises:
            IncrementalConfigError: If what is carried does not fit.
        """
        self.iteration = 0
        self.names, self.params = list(params), list(params.values())
        self.state = {
            name: [torch.full_like(p, value) for p in self.params]
            for name, value in self.buffers.items()
        }
        self.num_old = [0] * len(self.params)
        self.parts = [count_rows(p) for p in self.params]
        self.quadratic = None
        if carried is not None and anchor is not None:
            self._carry_over(carried, anchor)

    @torch.no_grad()
    def watch(self) -> None:
        """Gather importance from the gradients, right before they are used."""
        self.iteration += 1
        self.observe([
            torch.zeros_like(p) if p.grad is None else p.grad
            for p in self.params
        ])

    def pull_back(self) -> None:
        """Add the gradient of the penalty to the gradients."""
        if self.quadratic is not None:
            self.quadratic.pull_back()

    def penalty(self) -> float:
        """Value of the penalty, for the log."""
        return 0.0 if self.quadratic is None else self.quadratic.value()

    def state_dict(self, carried_only: bool = False) -> dict:
        """The buffers by name of the parameter, on the CPU.

        Args:
            carried_only (bool): Whether the step has ended. Defaults to
                False.

        Returns:
            dict: For :meth:`start` of the next step, or for
            :meth:`load_state_dict`.
        """
        buffers = {
            name: {
                key: tensor.detach().cpu()
                for key, tensor in zip(self.names, tensors)
            }
            for name, tensors in self.state.items()
            if name in self.carried or not carried_only
        }
        parts = dict(zip(self.names, map(torch.tensor, self.parts)))
        state = dict(buffers, iteration=self.iteration, parts=parts)
        return dict(state, settings=self.settings) if carried_only else state

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        """Go on inside a step, after :meth:`start`.

        Args:
            state (dict): What :meth:`state_dict` gave.
        """
        self.iteration = state['iteration']
        for name in self.state:
            self.state[name] = self._in_order(state.get(name))

    def _carry_over(self, carried: Dict[str, NamedTensors],
                    anchor: NamedTensors) -> None:
        """Go on with the importances of the step before."""
        old = {
            name: self._in_order(carried.get(name))
            for name in self.carried
        }
        for name, tensors in old.items():
            self.state[name] = pad(tensors, self.state[name])
            self.num_old = [sum(count_rows(t)) for t in tensors]
        known = carried.get('parts', {})
        self.parts = [
            known[name].tolist() if name in known else [rows]
            for name, rows in zip(self.names, self.num_old)
        ]
        # Rows of new classes have no importance yet.
        zeros = [torch.zeros_like(p) for p in self.params]
        self.quadratic = QuadraticPenalty(
            self.loss_weight, self.params, pad(self.importance(old), zeros),
            pad(self._in_order(anchor), self.params))
        for sizes, param in zip(self.parts, self.params):
            new_rows = sum(count_rows(param)) - sum(sizes)
            if new_rows:
                sizes.append(new_rows)

    def _in_order(self, values: Optional[NamedTensors]) -> List[Tensor]:
        """Values in the order of the parameters, on their devices."""
        for name, param in zip(self.names, self.params):
            value = (values or {}).get(name)
            if value is None or not is_part(value, param):
                raise IncrementalConfigError(
                    f'{type(self).__name__} finds nothing of {name} in its '
                    'shape in what the step before has left; take that step '
                    'from a run of this model and method.')
        return [values[n].to(p) for n, p in zip(self.names, self.params)]
