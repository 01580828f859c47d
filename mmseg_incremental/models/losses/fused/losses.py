"""Cross entropy and distillation from the head's own, small logits."""
from typing import NamedTuple, Optional, Tuple, Union

import torch
from torch import Tensor

from ..utils import full_precision, num_averaged, weights_of_labels
from .function import FusedBatch, FusedLoss
from .gpu import KernelLoss, has_kernels
from .objective import Objective, build_objective


class FusedLosses(NamedTuple):
    """Both losses of a batch.

    Args:
        cross_entropy (Tensor): A weighted scalar.
        distillation (Tensor): A weighted scalar; 0 without a teacher.
        is_highest (Tensor): Where no logit is above that of the label, bool
            [B, H, W].
    """

    cross_entropy: Tensor
    distillation: Tensor
    is_highest: Tensor


def fused_unbiased_loss(logits: Tensor,
                        labels: Tensor,
                        teacher_logits: Optional[Tensor] = None,
                        distill_weight: float = 10.0,
                        align_corners: bool = False,
                        ignore_index: int = 255) -> Tuple[Tensor, Tensor]:
    """Unbiased cross entropy and distillation of MiB in one pass.

    They equal :func:`unbiased_cross_entropy` and ``distill_weight`` times
    :func:`unbiased_distillation` of the logits resized to the labels, which
    are never built as a whole: the gradient is known in closed form and is
    computed with the losses, band by band of a few rows. Time and memory are
    least if both losses are added up as they are, or scaled by one factor. On
    CUDA with Triton, kernels go over the pixels instead.
    There is no second derivative: asking for it raises a RuntimeError.

    Args:
        logits (Tensor): Output of the student's head, [B, C, h, w], finite.
            Half precision is computed in float32.
        labels (Tensor): Head indices or ``ignore_index``, int64, [B, H, W].
            Labels of old classes count as background.
        teacher_logits (Tensor, optional): Output of the teacher's head,
            [B, O, h', w'], O <= C. No gradient flows into them. Without, all
            classes are new. Defaults to None.
        distill_weight (float): Weight of the distillation. Defaults to 10.0.
        align_corners (bool): As of the head. Defaults to False.
        ignore_index (int): Label that has no cross entropy; it counts as 0
            in the mean. Defaults to 255.

    Returns:
        tuple[Tensor, Tensor]: Cross entropy and weighted distillation, two
        scalars; the latter is 0 without a teacher.

    Raises:
        ValueError: If batch sizes differ, O is not within 1..C, labels are
            not int64, or tensors are on more than one device.
        RuntimeError: If a label is neither a channel nor ``ignore_index``; an
            IndexError where classes are weighted, and on CUDA a device-side
            assertion.
    """
    num_old = 1 if teacher_logits is None else teacher_logits.size(1)
    losses = fused_losses(
        logits,
        labels,
        build_objective(True, True),
        num_old,
        teacher_logits=teacher_logits,
        distill_weight=distill_weight,
        align_corners=align_corners,
        ignore_index=ignore_index)
    return losses.cross_entropy, losses.distillation


def fused_losses(logits: Tensor,
                 labels: Tensor,
                 objective: Objective,
                 num_old: int,
                 teacher_logits: Optional[Tensor] = None,
                 loss_weight: float = 1.0,
                 distill_weight: float = 1.0,
                 align_corners: bool = False,
                 ignore_index: int = 255,
                 class_weight: Optional[Tensor] = None,
                 pixel_weight: Optional[Tensor] = None,
                 avg_non_ignore: bool = False) -> FusedLosses:
    """Any objective of cross entropy and output distillation in one pass.

    See :func:`fused_unbiased_loss` for how, and for what is raised.

    Args:
        logits (Tensor): Output of the student's head, [B, C, h, w].
        labels (Tensor): Head indices or ``ignore_index``, int64, [B, H, W].
        objective (Objective): Which losses.
        num_old (int): O, the number of old classes, background included.
        teacher_logits (Tensor, optional): Output of the teacher's head,
            [B, O, h', w']. Defaults to None.
        loss_weight (float): Weight of the cross entropy. Defaults to 1.0.
        distill_weight (float): Weight of the distillation. Defaults to 1.0.
        align_corners (bool): As of the head. Defaults to False.
        ignore_index (int): Label that has no cross entropy. Defaults to 255.
        class_weight (Tensor, optional): Weight of each class, [C], as in
            :func:`unbiased_cross_entropy`. Defaults to None.
        pixel_weight (Tensor, optional): Weight of each pixel's cross entropy,
            [B, H, W]. Defaults to None.
        avg_non_ignore (bool): Whether ignored pixels are left out of the mean
            of the cross entropy. Defaults to False.

    Returns:
        FusedLosses: Both losses, weighted.
    """
    _check(logits, labels, teacher_logits, num_old)
    _check_pixels(logits, labels, teacher_logits, pixel_weight)
    like = full_precision(logits.new_empty(0))
    weight, count = _weights(labels, labels == ignore_index,
                             objective.num_covered(num_old), class_weight,
                             avg_non_ignore, like)
    if pixel_weight is not None:
        pixel_weight = pixel_weight.to(like)
        weight = pixel_weight if weight is None else weight * pixel_weight
    batch = FusedBatch(
        labels, weight,
        like.new_tensor(loss_weight) / count,
        None if teacher_logits is None else teacher_logits.detach(),
        distill_weight / (num_old * labels.numel()), num_old, objective,
        align_corners, ignore_index)
    has_kernel = has_kernels(logits, teacher_logits)
    function = KernelLoss if has_kernel else FusedLoss
    return FusedLosses(*function.apply(logits, batch))


def _weights(labels: Tensor, is_ignored: Tensor, num_covered: int,
             class_weight: Optional[Tensor], avg_non_ignore: bool,
             like: Tensor) -> Tuple[Optional[Tensor], Union[Tensor, int]]:
    """Weight of each pixel's class, and what the sum is divided by."""
    weight = None
    if class_weight is not None:
        is_background = (labels >= 0) & (labels < num_covered) & ~is_ignored
        weight = weights_of_labels(labels, is_background, is_ignored,
                                   class_weight.to(like))
    return weight, num_averaged(is_ignored, weight, avg_non_ignore)


def _check(logits: Tensor, labels: Tensor, teacher_logits: Optional[Tensor],
           num_old: int) -> None:
    """Refuse what does not describe one batch."""
    num_images, num_classes = logits.shape[:2]
    teacher_shape = (num_images, num_old)
    if teacher_logits is not None:
        teacher_shape = tuple(teacher_logits.shape[:2])
    if not num_images == len(labels) == teacher_shape[0]:
        raise ValueError(
            f'logits, labels and teacher_logits have {num_images}, '
            f'{len(labels)} and {teacher_shape[0]} images, but must have the '
            'same number; give those of one batch.')
    if not 1 <= num_old <= num_classes or teacher_shape[1] != num_old:
        raise ValueError(
            f'num_old is {num_old} and teacher_logits have '
            f'{teacher_shape[1]} channels, but both must be one number '
            f'between 1 and the {num_classes} channels of logits; the teacher '
            'is the model of the step before.')


def _check_pixels(logits: Tensor, labels: Tensor,
                  teacher_logits: Optional[Tensor],
                  pixel_weight: Optional[Tensor]) -> None:
    """Refuse labels and weights that a kernel would read past the end of."""
    if labels.dtype != torch.int64:
        raise ValueError(f'labels are {labels.dtype}, but must be torch.int64;'
                         ' convert them by labels.long().')
    if pixel_weight is not None and pixel_weight.shape != labels.shape:
        raise ValueError(
            f'pixel_weight has the shape {list(pixel_weight.shape)}, but must '
            f'have that of labels, {list(labels.shape)}; expand it.')
    devices = {
        tensor.device
        for tensor in (logits, labels, teacher_logits, pixel_weight)
        if tensor is not None
    }
    if len(devices) > 1:
        raise ValueError(
            'logits, labels, teacher_logits and pixel_weight are on '
            f'{sorted(map(str, devices))}, but must be on one device; move '
            'them to that of logits.')
