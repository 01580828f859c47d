import math
from numbers import Real
from typing import Optional, Union

import torch
from torch import Tensor

from mmseg_incremental.errors import IncrementalConfigError


def full_precision(tensor: Tensor) -> Tensor:
    """Cast half precision to float32 and leave float32 and float64 alone.

    Args:
        tensor (Tensor): Logits of any shape and floating point type.

    Returns:
        Tensor: The same values in float32 or wider.
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def check_loss_weight(value: float,
                      loss_name: str,
                      key: str = 'loss_weight') -> float:
    """Refuse what cannot scale a loss, or a part of it.

    Args:
        value (float): The weight as configured.
        loss_name (str): Name of the loss item, for the message.
        key (str): The argument, for the message. Defaults to 'loss_weight'.

    Returns:
        float: ``value``.

    Raises:
        IncrementalConfigError: If it is not a finite number >= 0.
    """
    if (not isinstance(value, Real) or isinstance(value, bool)
            or not math.isfinite(value) or value < 0):
        raise IncrementalConfigError(
            f'{key} of {loss_name!r} is {value!r}, but must be a '
            'finite number >= 0; correct it in the loss config.')
    return float(value)


def check_num_old(num_old: int, loss_name: str) -> int:
    """Refuse what is no number of classes.

    Args:
        num_old (int): Number of old classes as configured.
        loss_name (str): Name of the loss item, for the message.

    Returns:
        int: ``num_old``.

    Raises:
        IncrementalConfigError: If it is not an integer >= 0.
    """
    if (not isinstance(num_old, int) or isinstance(num_old, bool)
            or num_old < 0):
        raise IncrementalConfigError(
            f'num_old of {loss_name!r} is {num_old!r}, but must be an '
            'integer >= 0; leave it out, the segmentor sets it.')
    return num_old


def check_same_pixels(logits: Tensor, teacher_logits: Tensor) -> None:
    """Refuse logits of student and teacher that do not describe one batch.

    Args:
        logits (Tensor): Student logits, [B, C, H, W].
        teacher_logits (Tensor): Teacher logits, [B, O, H, W].

    Raises:
        ValueError: If B, H or W differ, or if O is not within 1..C.
    """
    student_shape, teacher_shape = logits.shape, teacher_logits.shape
    if (student_shape[0] != teacher_shape[0]
            or student_shape[2:] != teacher_shape[2:]):
        raise ValueError(
            'logits and teacher_logits must have the same batch and spatial '
            f'size, but their shapes are {list(student_shape)} and '
            f'{list(teacher_shape)}; resize both to the label size first.')
    if not 1 <= teacher_shape[1] <= student_shape[1]:
        raise ValueError(
            f'teacher_logits have {teacher_shape[1]} channels, but must have '
            f'between 1 and the {student_shape[1]} of logits; the teacher is '
            'the model of the step before.')


def weights_of_labels(labels: Tensor, is_background: Tensor,
                      is_ignored: Tensor, class_weight: Tensor) -> Tensor:
    """Look up the weight of each pixel's class.

    Args:
        labels (Tensor): Head indices or the ignored label, [B, H, W].
        is_background (Tensor): Whether a label counts as background, bool
            [B, H, W].
        is_ignored (Tensor): Whether a pixel is ignored, bool [B, H, W].
        class_weight (Tensor): Weight of each class, [C].

    Returns:
        Tensor: Weights, 0 where ignored, [B, H, W].
    """
    target = labels.masked_fill(is_background | is_ignored, 0)
    return class_weight[target] * ~is_ignored


def num_averaged(is_ignored: Tensor, label_weight: Optional[Tensor],
                 avg_non_ignore: bool) -> Union[Tensor, int]:
    """What the sum of the pixels' losses is divided by.

    It is that of mmseg's ``CrossEntropyLoss``.

    Args:
        is_ignored (Tensor): Whether a pixel is ignored, bool [B, H, W].
        label_weight (Tensor, optional): Weight of each pixel's class, 0 where
            ignored, [B, H, W].
        avg_non_ignore (bool): Whether ignored pixels are left out of the
            count.

    Returns:
        Tensor | int: A number, or a scalar of the type of the weights.
    """
    if label_weight is not None:
        eps = torch.finfo(label_weight.dtype).eps
        return label_weight.sum().clamp(min=eps)
    if avg_non_ignore:
        return (~is_ignored).sum().clamp(min=1)
    return is_ignored.numel()
