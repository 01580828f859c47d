"""The losses of LwF-MC, in which every class has a sigmoid of its own."""
from typing import Optional

import torch.nn.functional as F
from torch import Tensor

from .utils import check_same_pixels, full_precision, num_averaged


def sigmoid_cross_entropy(logits: Tensor,
                          labels: Tensor,
                          ignore_index: int = 255,
                          class_weight: Optional[Tensor] = None,
                          pixel_weight: Optional[Tensor] = None,
                          avg_non_ignore: bool = False,
                          reduction: str = 'mean',
                          first_class: int = 0) -> Tensor:
    r"""Binary cross entropy of every class: summed over classes.

    The classification loss of `iCaRL <https://arxiv.org/abs/1611.07725>`_ as
    LwF-MC uses it on pixels. With s = sigmoid(logits), the mean over all
    pixels, ignored ones counted as 0, of

    .. math::
        \ell = -\sum_{c \ge f} \mathbb{1}[c = y] \log s_c
        + \mathbb{1}[c \ne y] \log (1 - s_c)

    where f is the first class, 0 in LwF-MC.

    Args:
        logits (Tensor): Logits of all seen classes, [B, C, H, W]. Half
            precision is computed in float32.
        labels (Tensor): Head indices 0..C-1 or ``ignore_index``, int64,
            [B, H, W].
        ignore_index (int): Label that has no loss. Defaults to 255.
        class_weight (Tensor, optional): Weight of each class's binary loss,
            [C]. Defaults to None.
        pixel_weight (Tensor, optional): Weight of each pixel, [B, H, W].
            Defaults to None.
        avg_non_ignore (bool): Whether ignored pixels are left out of the
            mean. Defaults to False.
        reduction (str): 'mean', or 'none' for the loss of every pixel.
            Defaults to 'mean'.
        first_class (int): Classes before it are left out of the sum, 0..C.
            Defaults to 0.

    Returns:
        Tensor: A scalar, or [B, H, W] if ``reduction`` is 'none'. It is 0
        with zero gradient if every pixel is ignored.

    Raises:
        ValueError: If ``reduction`` is unknown.
        RuntimeError: If a label is neither a channel nor ``ignore_index``
            (on CUDA a device-side assertion).
    """
    if reduction not in ('mean', 'none'):
        raise ValueError(
            f"reduction is {reduction!r}, but must be 'mean' or 'none'")
    logits = full_precision(logits)
    is_ignored = labels == ignore_index
    # BCE(z, y) = softplus(z) - y z: the target needs no one-hot tensor.
    negative = F.softplus(logits[:, first_class:])
    index = labels.masked_fill(is_ignored, 0).unsqueeze(1)
    positive = logits.gather(1, index).squeeze(1) * (labels >= first_class)
    if class_weight is not None:
        class_weight = class_weight.to(logits)
        negative = negative * class_weight[first_class:, None, None]
        positive = positive * class_weight[index.squeeze(1)]
    loss = (negative.sum(dim=1) - positive) * ~is_ignored
    if pixel_weight is not None:
        loss = loss * pixel_weight
    if reduction == 'none':
        return loss
    return loss.sum() / num_averaged(is_ignored, None, avg_non_ignore)


def sigmoid_distillation(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    r"""Binary cross entropy between teacher and student, summed over classes.

    The distillation of `iCaRL <https://arxiv.org/abs/1611.07725>`_. With
    s = sigmoid(logits) and r = sigmoid(teacher_logits), the mean over all
    pixels of

    .. math::
        \ell = -\sum_{c<O} r_c \log s_c + (1 - r_c) \log (1 - s_c)

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
    target = full_precision(teacher_logits.detach()).sigmoid()
    logits = full_precision(logits[:, :num_old])
    # softplus(z) - r z, without binary_cross_entropy's need of a target
    # that is no inference tensor
    return (F.softplus(logits) - target * logits).sum(dim=1).mean()
