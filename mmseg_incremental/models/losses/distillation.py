"""Distillation of the logits of the step before, and its base class."""
import math
from abc import ABCMeta, abstractmethod
from typing import Tuple

import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_incremental.errors import IncrementalConfigError
from .outputs import StepOutputs
from .sigmoid import sigmoid_distillation
from .unbiased import unbiased_distillation
from .utils import check_loss_weight, check_same_pixels, full_precision


def distillation(logits: Tensor,
                 teacher_logits: Tensor,
                 temperature: float = 1.0) -> Tensor:
    r"""Cross entropy between teacher and student over the old classes.

    The output distillation of `Learning without Forgetting
    <https://arxiv.org/abs/1606.09282>`_ in the form that segmentation papers
    compare with: the student's softmax over the old channels only, and
    divided by O. With q = softmax(teacher_logits / T), the mean over all
    pixels of

    .. math::
        \ell = -\frac{1}{O} \sum_{c<O} q_c \log
        \operatorname{softmax}(z_0 / T, \dots, z_{O-1} / T)_c

    Args:
        logits (Tensor): Student logits of all seen classes, [B, C, H, W].
            Half precision is computed in float32.
        teacher_logits (Tensor): Teacher logits of the old classes,
            [B, O, H, W], O <= C. No gradient flows into them.
        temperature (float): T > 0. Defaults to 1.0, as in these codes; the
            paper has 2.

    Returns:
        Tensor: A scalar, to be multiplied by the loss weight.

    Raises:
        ValueError: If batch or spatial size differ, or if O is not within
            1..C.
    """
    check_same_pixels(logits, teacher_logits)
    num_old = teacher_logits.size(1)
    teacher_logits = full_precision(teacher_logits.detach()) / temperature
    logits = full_precision(logits[:, :num_old]) / temperature
    teacher_prob = F.softmax(teacher_logits, dim=1)
    log_prob = F.log_softmax(logits, dim=1)
    return -(teacher_prob * log_prob).sum(dim=1).mean() / num_old


class BaseDistillationLoss(nn.Module, metaclass=ABCMeta):
    """Base class of the losses that compare student and teacher.

    A subclass names the outputs it needs in ``reads`` and implements
    ``forward(student, teacher)``. The teacher is frozen and runs without
    gradient; a teacher output that no loss reads is not computed.

    Args:
        loss_weight (float): Weight of the loss.
        loss_name (str): Name of the loss item; it takes part in training if
            it contains 'loss'.

    Raises:
        IncrementalConfigError: If ``loss_weight`` is not a finite number
            >= 0.
    """

    reads: Tuple[str, ...] = ()
    """Fields of :class:`StepOutputs` that ``forward`` uses."""

    def __init__(self, loss_weight: float, loss_name: str) -> None:
        super().__init__()
        self.loss_weight = check_loss_weight(loss_weight, loss_name)
        self._loss_name = loss_name

    @abstractmethod
    def forward(self, student: StepOutputs, teacher: StepOutputs) -> Tensor:
        """Compute the weighted loss.

        Args:
            student (StepOutputs): Outputs of the model in training.
            teacher (StepOutputs): Outputs of the model of the step before.

        Returns:
            Tensor: A scalar.
        """

    def extra_repr(self) -> str:
        """Show what distinguishes this loss when a model is printed."""
        return f'loss_weight={self.loss_weight}'

    @property
    def loss_name(self) -> str:
        """Name of the loss item."""
        return self._loss_name


@MODELS.register_module()
class DistillationLoss(BaseDistillationLoss):
    """Output distillation of LwF on logits of label size.

    `Learning without Forgetting <https://arxiv.org/abs/1606.09282>`_; see
    :func:`distillation` for what differs from the paper.

    Args:
        loss_weight (float): Weight of the loss. Defaults to 100.0, that of
            LwF in MiB's official code.
        loss_name (str): Name of the loss item. Defaults to 'loss_kd'.
        temperature (float): By which the logits of both are divided. Defaults
            to 1.0, as in MiB's official code; the paper has 2.

    Raises:
        IncrementalConfigError: If ``loss_weight`` is not a finite number
            >= 0 or ``temperature`` none > 0.
    """

    reads = ('seg_logits', )

    def __init__(self,
                 loss_weight: float = 100.0,
                 loss_name: str = 'loss_kd',
                 temperature: float = 1.0) -> None:
        super().__init__(loss_weight, loss_name)
        if not (isinstance(temperature,
                           (int, float)) and 0 < temperature < math.inf):
            raise IncrementalConfigError(
                f'temperature of {loss_name!r} is {temperature!r}, but must '
                'be a finite number > 0; 1 leaves the logits as they are.')
        self.temperature = temperature

    def forward(self, student: StepOutputs, teacher: StepOutputs) -> Tensor:
        """Compute the weighted loss from ``seg_logits``, as a scalar."""
        return self.loss_weight * distillation(
            student.seg_logits, teacher.seg_logits, self.temperature)

    def extra_repr(self) -> str:
        """Show what distinguishes this loss when a model is printed."""
        return f'{super().extra_repr()}, temperature={self.temperature}'


@MODELS.register_module()
class UnbiasedDistillationLoss(BaseDistillationLoss):
    """Output distillation of MiB on logits of label size.

    `Modeling the Background for Incremental Learning in Semantic Segmentation
    <https://arxiv.org/abs/2002.00718>`_; see :func:`unbiased_distillation`.

    Args:
        loss_weight (float): Weight of the loss. Defaults to 10.0, that of
            the official code; the paper's VOC 15-1 results used 100.
        loss_name (str): Name of the loss item. Defaults to 'loss_unkd'.
    """

    reads = ('seg_logits', )

    def __init__(self,
                 loss_weight: float = 10.0,
                 loss_name: str = 'loss_unkd') -> None:
        super().__init__(loss_weight, loss_name)

    def forward(self, student: StepOutputs, teacher: StepOutputs) -> Tensor:
        """Compute the weighted loss from ``seg_logits``, as a scalar."""
        return self.loss_weight * unbiased_distillation(
            student.seg_logits, teacher.seg_logits)


@MODELS.register_module()
class SigmoidDistillationLoss(BaseDistillationLoss):
    """Output distillation of LwF-MC on logits of label size.

    See :func:`sigmoid_distillation`. MiB's official code averages over the O
    old classes and multiplies by O, which is the sum taken here.

    Args:
        loss_weight (float): Weight of the loss. Defaults to 10.0, that of
            MiB's official code.
        loss_name (str): Name of the loss item. Defaults to 'loss_bce_kd'.
    """

    reads = ('seg_logits', )

    def __init__(self,
                 loss_weight: float = 10.0,
                 loss_name: str = 'loss_bce_kd') -> None:
        super().__init__(loss_weight, loss_name)

    def forward(self, student: StepOutputs, teacher: StepOutputs) -> Tensor:
        """Compute the weighted loss from ``seg_logits``, as a scalar."""
        return self.loss_weight * sigmoid_distillation(student.seg_logits,
                                                       teacher.seg_logits)
