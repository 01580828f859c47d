"""Losses of a head from its small logits, where its config allows it."""
from typing import NamedTuple, Optional, Sequence, Tuple

import torch
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss
from torch import Tensor, nn

from .distiller import loss_weight_of
from .losses import (BaseDistillationLoss, DistillationLoss, StepOutputs,
                     UnbiasedCrossEntropyLoss, UnbiasedDistillationLoss)
from .losses.fused import (FusedLosses, build_objective, fused_losses,
                           has_kernels)
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

    def saves(self, logits: Tensor, size: Sequence[int]) -> bool:
        """Whether the fused losses are the faster ones.

        Args:
            logits (Tensor): Output of the head, [B, C, h, w].
            size (Sequence[int]): Height and width of the labels.

        Returns:
            bool: False for plain cross entropy of logits that need no
            resizing, or that are neither on a CPU nor have kernels.
        """
        if (self.distillation is not None
                or type(self.classification) is not CrossEntropyLoss):
            return True
        is_fast = logits.device.type == 'cpu' or has_kernels(logits, None)
        return is_fast and tuple(logits.shape[2:]) != tuple(size)

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


def fuse(head: nn.Module,
         losses: Sequence[BaseDistillationLoss] = (),
         num_taught: int = 0) -> Optional[FusedHead]:
    """See whether the losses of a head can be computed together.

    They can if the head has the stock ``loss_by_feat`` and
    ``_stack_batch_gt`` without a pixel sampler and one loss, a softmax
    ``CrossEntropyLoss`` or an :class:`UnbiasedCrossEntropyLoss`, and if at
    most one distillation loss with a weight reads logits of label size, that
    of LwF, at a temperature of 1, or MiB. One without a weight is left out,
    so that the rest is computed as without it.

    Args:
        head (nn.Module): A decode or auxiliary head.
        losses (Sequence[BaseDistillationLoss]): The distillation losses that
            apply to it. Defaults to ().
        num_taught (int): Number of classes of the teacher. Defaults to 0, no
            teacher.

    Returns:
        FusedHead, optional: None if they cannot.
    """
    stock = getattr(type(head), 'loss_by_feat', None)
    loss = head.loss_decode
    labels = getattr(type(head), '_stack_batch_gt', None)
    if (stock is not BaseDecodeHead.loss_by_feat
            or labels is not BaseDecodeHead._stack_batch_gt
            or head.sampler is not None
            or not _is_softmax_entropy(loss, head.num_classes)):
        return None
    weighted = [
        item for item in losses
        if 'seg_logits' in item.reads and item.loss_weight > 0
    ]
    if len(weighted) > 1 or not all(map(_is_known, weighted)):
        return None
    is_unbiased = type(loss) is UnbiasedCrossEntropyLoss
    if is_unbiased and weighted and loss.num_old != num_taught:
        return None
    return FusedHead(head, loss, weighted[0] if weighted else None)


def fuses_alone(head: nn.Module) -> bool:
    """Whether a head without teacher can be trained by the fused losses.

    Args:
        head (nn.Module): A decode or auxiliary head.

    Returns:
        bool: True if its losses can be computed together and its stock
        ``loss`` does no more than that.
    """
    stock = getattr(type(head), 'loss', None)
    return stock is BaseDecodeHead.loss and fuse(head) is not None


def _is_known(loss: BaseDistillationLoss) -> bool:
    return (type(loss) in DISTILLATIONS
            and getattr(loss, 'temperature', 1.0) == 1.0)


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
