"""Cross entropy and distillation of a band, and their gradient."""
from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from ..unbiased import unbiased_cross_entropy
from .groups import ALL, GroupedBand, TeacherBand
from .objective import Objective


class BandBatch(NamedTuple):
    """What a band is scored by.

    Args:
        labels (Tensor): Channels, [rows, W].
        weight (Tensor): Weight of each pixel's cross entropy, [rows, W].
        teacher_weight (float): Weight of each pixel's distillation.
        num_old (int): O, the number of old classes with the background.
        objective (Objective): Which losses.
    """

    labels: Tensor
    weight: Tensor
    teacher_weight: float
    num_old: int
    objective: Objective


class BandScores:
    """Both losses of a band, and then their gradient.

    The losses are sums of logarithms of summed exponentials and of logits.
    The gradient of the former is that of :class:`GroupedBand`, to which that
    of the latter is added.

    Args:
        student (GroupedBand): The student's band, used up.
        batch (BandBatch): What it is scored by.
        teacher (TeacherBand, optional): The teacher's band, used up.

    Attributes:
        is_highest (Tensor): Where no logit is above that of the label, bool
            [rows, W].
        cross_entropy (Tensor): Its sum, a scalar.
        distillation (Tensor): Its sum, a scalar.
    """

    def __init__(self, student: GroupedBand, batch: BandBatch,
                 teacher: Optional[TeacherBand]) -> None:
        self.student = student
        self.batch = batch
        # Negative, as what is added to the gradient.
        self._teacher: Optional[Tensor] = None
        if teacher is not None:
            self._teacher = teacher.scale(-batch.teacher_weight)
        label_logit = student.logits.gather(
            1, batch.labels.unsqueeze(1)).squeeze(1)
        self.is_highest = label_logit == student.logits.amax(dim=1)
        log_all = student.total(ALL).log()
        self.cross_entropy = self._score_labels(label_logit, log_all)
        self.distillation = torch.zeros_like(self.cross_entropy)
        if teacher is not None:
            self.distillation = self._score_teacher(log_all)

    def _score_labels(self, label_logit: Tensor, log_all: Tensor) -> Tensor:
        """Sum of the cross entropy."""
        student, (labels, weight, _, num_old, objective) = (self.student,
                                                            self.batch)
        student.pull(ALL, weight)
        self._label_pull = -weight
        covering = objective.label_background
        if covering:
            is_covered = labels < objective.num_covered(num_old)
            label_logit = torch.where(is_covered,
                                      student.total(covering).log(),
                                      label_logit)
            student.pull(covering,
                         self._label_pull.masked_fill(~is_covered, 0))
            self._label_pull.masked_fill_(is_covered, 0)
        return label_logit.sub_(log_all).mul_(weight).sum().neg()

    def _score_teacher(self, log_all: Tensor) -> Tensor:
        """Sum of the distillation."""
        student, (_, _, weight, num_old, objective) = self.student, self.batch
        background = self._teacher[:, 0]
        student.pull(objective.support, weight)
        student.pull(objective.teacher_background, background)
        log_support = log_all if objective.support == ALL else student.total(
            objective.support).log()
        loss = student.total(objective.teacher_background).log()
        loss.mul_(background).add_(log_support, alpha=weight)
        likelihood = student.logits[:, 1:num_old].mul_(self._teacher[:, 1:])
        return loss.sum() + likelihood.sum()

    def gradient(self) -> Tensor:
        """The gradient of both sums for the band's logits, [rows, C, W]."""
        gradient = self.student.gradient(self._teacher)
        return gradient.scatter_add_(1, self.batch.labels.unsqueeze(1),
                                     self._label_pull.unsqueeze(1))


def score_exactly(
        logits: Tensor, teacher_logits: Optional[Tensor], batch: BandBatch,
        needs_gradient: bool
) -> Tuple[Tensor, Tensor, Tensor, Optional[Tensor]]:
    """Score a band by the readable losses, in which no group vanishes.

    Args:
        logits (Tensor): The student's band, [rows, C, W].
        teacher_logits (Tensor, optional): The teacher's, [rows, O, W].
        batch (BandBatch): What it is scored by.
        needs_gradient (bool): Whether the gradient is wanted.

    Returns:
        tuple: The sums of both losses, where no logit is above that of the
        label, and the gradient, [rows, C, W], or None.
    """
    labels, weight, teacher_weight, num_old, objective = batch
    logits = logits.detach().unsqueeze(2).requires_grad_(needs_gradient)
    labels = labels.unsqueeze(1)
    with torch.set_grad_enabled(needs_gradient):
        loss = unbiased_cross_entropy(
            logits,
            labels,
            objective.num_covered(num_old),
            # The labels of a band are all channels.
            ignore_index=-1,
            reduction='none')
        cross_entropy = (loss * weight.unsqueeze(1)).sum()
        distillation = logits.new_zeros(())
        if teacher_logits is not None:
            scale = teacher_weight * num_old * labels.numel()
            distillation = scale * objective.distillation(
                logits, teacher_logits.unsqueeze(2))
        total = cross_entropy + distillation
    gradient = None
    if needs_gradient:
        gradient, = torch.autograd.grad(total, logits)
        gradient = gradient.squeeze(2)
    label_logit = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
    is_highest = label_logit == logits.amax(dim=1)
    return (cross_entropy.detach(), distillation.detach(),
            is_highest.squeeze(1), gradient)
