"""The unbiased losses of MiB, which model the background shift.

At step t the label "background" covers every class but the new ones, while
the teacher's "background" covers the new ones as well. Both losses sum the
probabilities of the channels that the label, or the teacher, calls background
before they are compared.

Shapes: B images, C classes seen, O old classes with the background (channel
0) among them, H x W pixels.
"""
from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from .utils import (check_same_pixels, full_precision, num_averaged,
                    weights_of_labels)


def unbiased_cross_entropy(logits: Tensor,
                           labels: Tensor,
                           num_old: int,
                           ignore_index: int = 255,
                           avg_non_ignore: bool = False,
                           class_weight: Optional[Tensor] = None,
                           pixel_weight: Optional[Tensor] = None,
                           reduction: str = 'mean') -> Tensor:
    r"""Cross entropy in which a background label may be any old class.

    "Revisiting Cross-Entropy Loss" in `Modeling the Background for
    Incremental Learning in Semantic Segmentation
    <https://arxiv.org/abs/2002.00718>`_. With p = softmax(logits):

    .. math::
        \ell = -\log \sum_{c<O} p_c \text{ if } y < O,
        \text{ else } -\log p_y

    With ``num_old`` 0 or 1 (no old class but the background) this is the
    plain cross entropy; with ``num_old == C`` (no new class) it is 0.

    Weights mean what they mean in mmseg's ``CrossEntropyLoss``: they multiply
    the loss of a pixel, and only ``class_weight`` enters the denominator.

    Args:
        logits (Tensor): Logits of all seen classes, [B, C, H, W]. Half
            precision is computed in float32.
        labels (Tensor): Head indices 0..C-1 or ``ignore_index``, int64,
            [B, H, W]. Labels of old classes count as background.
        num_old (int): O, the number of old classes, background included.
        ignore_index (int): Label that has no loss. Defaults to 255.
        avg_non_ignore (bool): Whether the mean is over the pixels that are
            not ignored; otherwise ignored pixels count as 0 in the mean over
            all pixels, as in the official code. Without effect when
            ``class_weight`` is given. Defaults to False.
        class_weight (Tensor, optional): Weight of each class, [C]. A pixel of
            an old class has the background's. The mean is then divided by the
            sum of the weights of the pixels that are not ignored.
            Defaults to None.
        pixel_weight (Tensor, optional): Weight of each pixel, [B, H, W].
            Defaults to None.
        reduction (str): 'mean', or 'none' for the loss of every pixel.
            Defaults to 'mean'.

    Returns:
        Tensor: A scalar, or [B, H, W] if ``reduction`` is 'none'. It is 0
        with zero gradient if every pixel is ignored.

    Raises:
        ValueError: If ``num_old`` is not within 0..C, or ``reduction`` is
            unknown.
        IndexError: If a label is neither a channel nor ``ignore_index``
            (on CUDA a device-side assertion).
    """
    if not 0 <= num_old <= logits.size(1):
        raise ValueError(f'num_old is {num_old}, but must be between 0 and '
                         f'{logits.size(1)}, the number of channels of logits')
    if reduction not in ('mean', 'none'):
        raise ValueError(
            f"reduction is {reduction!r}, but must be 'mean' or 'none'")
    # Not lse(all) - z: at logits around 1e4 that leaves float32 with errors
    # of 1e-3, where the log probability stays exact.
    log_prob = F.log_softmax(full_precision(logits), dim=1)
    is_ignored = labels == ignore_index
    is_background = (labels >= 0) & (labels < max(num_old, 1)) & ~is_ignored
    log_background = log_prob[:, :max(num_old, 1)].logsumexp(dim=1)
    loss = torch.where(
        is_background, -log_background,
        F.nll_loss(
            log_prob, labels, ignore_index=ignore_index, reduction='none'))

    label_weight = None
    if class_weight is not None:
        label_weight = weights_of_labels(labels, is_background, is_ignored,
                                         class_weight.to(loss))
        loss = loss * label_weight
    if pixel_weight is not None:
        loss = loss * pixel_weight
    if reduction == 'none':
        return loss
    return loss.sum() / num_averaged(is_ignored, label_weight, avg_non_ignore)


def unbiased_distillation(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    r"""Distillation in which the teacher's background may be any new class.

    "Revisiting Distillation Loss" in `Modeling the Background for Incremental
    Learning in Semantic Segmentation <https://arxiv.org/abs/2002.00718>`_.
    With p = softmax(logits) and q = softmax(teacher_logits), the mean over
    all pixels of

    .. math::
        \ell = -\frac{1}{O} \left( q_0 \log \Bigl(p_0 + \sum_{c \ge O} p_c
        \Bigr) + \sum_{1 \le c < O} q_c \log p_c \right)

    With O == C (no new class) it equals :func:`distillation`; with O == 1 it
    is 0, since the background then covers every class.

    Args:
        logits (Tensor): Student logits of all seen classes, [B, C, H, W].
            Half precision is computed in float32.
        teacher_logits (Tensor): Teacher logits of the old classes,
            [B, O, H, W], O <= C. No gradient flows into them.

    Returns:
        Tensor: A scalar, to be multiplied by the loss weight.

    Raises:
        ValueError: If batch or spatial size differ, or if O is not within
            1..C.
    """
    check_same_pixels(logits, teacher_logits)
    num_old = teacher_logits.size(1)
    teacher_prob = F.softmax(full_precision(teacher_logits.detach()), dim=1)
    log_prob = F.log_softmax(full_precision(logits), dim=1)
    log_background = torch.cat((log_prob[:, :1], log_prob[:, num_old:]),
                               dim=1).logsumexp(dim=1)
    log_likelihood = teacher_prob[:, 0] * log_background + (
        teacher_prob[:, 1:] * log_prob[:, 1:num_old]).sum(dim=1)
    return -log_likelihood.mean() / num_old
