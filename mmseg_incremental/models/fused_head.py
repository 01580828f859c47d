"""Losses of a head from its small logits, where its config allows it."""
from typing import NamedTuple, Optional, Sequence, Tuple

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss
from torch import Tensor, nn

from .distiller import loss_weight_of
from .losses import (BaseDistillationLoss, DistillationLoss, StepOutputs,
                     UnbiasedCrossEntropyLoss, UnbiasedDistillationLoss)
from .losses.fused import FusedLosses, build_objective, fused_losses
from .losses.utils import full_precision

# Subclasses may compute something else, so these are exact types.
DISTILLATIONS = (DistillationLoss, UnbiasedDistillationLoss)


class FusedHead(NamedTuple):
    """A head whose losses are computed by :func:`fused_losses`.

    Args:
        head (nn.Module): A decode or auxiliary head.
        classification (nn.Module): Its loss.
        distillation (BaseDistillationLoss, optional): The output
            distillation that is computed with it.
    """

    head: nn.Module
    classification: nn.Module
    distillation: Optional[BaseDistillationLoss]

    def losses(self, student: StepOutputs, teacher: StepOutputs,
               labels: Tensor,
               pixel_weight: Optional[Tensor]) -> Tuple[dict, dict]:
        """What ``loss_by_feat`` and the distillation loss return.

        Args:
            student (StepOutputs): Outputs of the head.
            teacher (StepOutputs): Those of the teacher's head.
            labels (Tensor): Labels, [B, H, W].
            pixel_weight (Tensor, optional): Weight of each pixel in the
                classification, [B, H, W].

        Returns:
            tuple[dict, dict]: Classification loss and accuracy by name, and
            the value of the distillation loss.
        """
        loss, distillation = self.classification, self.distillation
        is_unbiased = type(loss) is UnbiasedCrossEntropyLoss
        taught = None if distillation is None else teacher.logits
        num_old = loss.num_old if is_unbiased else 1
        weight = 0. if distillation is None else distillation.loss_weight
        values = fused_losses(
            student.logits,
            labels,
            build_objective(is_unbiased,
                            type(distillation) is UnbiasedDistillationLoss),
            max(num_old, 1) if taught is None else taught.size(1),
            teacher_logits=taught,
            loss_weight=loss.loss_weight,
            distill_weight=loss_weight_of(self.head) * weight,
            align_corners=self.head.align_corners,
            ignore_index=self.head.ignore_index,
            class_weight=_class_weight(loss, student.logits),
            pixel_weight=pixel_weight,
            avg_non_ignore=loss.avg_non_ignore)
        named = {
            loss.loss_name: values.cross_entropy,
            'acc_seg': _accuracy(values, labels, self.head.ignore_index)
        }
        if distillation is None:
            return named, {}
        return named, {distillation: values.distillation}


def fuse(head: nn.Module, losses: Sequence[BaseDistillationLoss],
         num_taught: int, is_weighted: bool) -> Optional[FusedHead]:
    """See whether the losses of a head can be computed together.

    They can if the head has the stock ``loss_by_feat`` without a pixel
    sampler and one loss, a softmax ``CrossEntropyLoss`` or an
    :class:`UnbiasedCrossEntropyLoss`, and if at most one distillation loss
    reads logits of label size, that of LwF or MiB. Plain cross entropy alone
    is left to the stock code, with which fine-tuning compares to the bit.

    Args:
        head (nn.Module): A decode or auxiliary head.
        losses (Sequence[BaseDistillationLoss]): The distillation losses that
            apply to it.
        num_taught (int): Number of classes of the teacher.
        is_weighted (bool): Whether pixels are weighted.

    Returns:
        FusedHead, optional: None if they cannot.
    """
    stock = getattr(type(head), 'loss_by_feat', None)
    loss = head.loss_decode
    if (stock is not BaseDecodeHead.loss_by_feat or head.sampler is not None
            or not _is_softmax_entropy(loss, head.num_classes)):
        return None
    full_size = [item for item in losses if 'seg_logits' in item.reads]
    if any(type(item) not in DISTILLATIONS for item in full_size):
        return None
    weighted = [item for item in full_size if item.loss_weight > 0]
    if len(full_size) > 1 or len(weighted) < len(full_size):
        return None
    is_unbiased = type(loss) is UnbiasedCrossEntropyLoss
    if not (weighted or is_unbiased or is_weighted):
        return None
    if is_unbiased and weighted and loss.num_old != num_taught:
        return None
    return FusedHead(head, loss, weighted[0] if weighted else None)


def _is_softmax_entropy(loss: nn.Module, num_classes: int) -> bool:
    if type(loss) is UnbiasedCrossEntropyLoss:
        return True
    return (type(loss) is CrossEntropyLoss
            and not (loss.use_sigmoid or loss.use_mask)
            and loss.reduction == 'mean'
            and (loss.class_weight is None
                 or len(loss.class_weight) == num_classes))


def _class_weight(loss: nn.Module, logits: Tensor) -> Optional[Tensor]:
    logits = full_precision(logits.new_empty((0, logits.size(1))))
    if type(loss) is UnbiasedCrossEntropyLoss:
        return loss.weights_of_classes(logits)
    if loss.class_weight is None:
        return None
    return logits.new_tensor(loss.class_weight)


def _accuracy(values: FusedLosses, labels: Tensor,
              ignore_index: int) -> Tensor:
    """Percentage of labelled pixels that are right, as mmseg's accuracy."""
    eps = torch.finfo(torch.float32).eps
    num_labelled = (labels != ignore_index).sum() + eps
    return (100 * (values.is_highest.sum() + eps) / num_labelled).view(1)
