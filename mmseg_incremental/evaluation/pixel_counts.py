"""Pixels of a prediction and its ground truth by class."""
from typing import Tuple

import torch
from torch import Tensor

# Of a mask of bytes.
HIGHEST_LABEL = 255


def count_pixels(label: Tensor, pred_label: Tensor, num_classes: int,
                 ignore_index: int) -> Tuple[Tensor, Tensor, Tensor]:
    """Count pixels on their device, in integers.

    One pass over the pixels counts pairs of classes; where there are more of
    these than pixels, it is three passes that count classes.

    Args:
        label (Tensor): Ground truth in 0..C-1 or ``ignore_index``, any shape.
        pred_label (Tensor): Prediction in 0..C-1, of that shape.
        num_classes (int): C.
        ignore_index (int): Label of pixels that are not counted.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Pixels of every class where both agree,
        in the prediction and in the ground truth, int64 [C].
    """
    label, pred_label = label.flatten().long(), pred_label.flatten().long()
    num_pairs = num_classes**2
    many = num_pairs > label.numel()
    if many or not num_classes <= ignore_index <= HIGHEST_LABEL:
        # What is not counted goes to one class more.
        label = label.masked_fill(label == ignore_index, num_classes)
    if many:
        return _count_classes(label, pred_label, num_classes)
    pairs = torch.bincount(
        pred_label.add(label, alpha=num_classes), minlength=num_pairs)
    matrix = pairs[:num_pairs].view(num_classes, num_classes)
    return matrix.diagonal(), matrix.sum(dim=0), matrix.sum(dim=1)


def _count_classes(label: Tensor, pred_label: Tensor,
                   num_classes: int) -> Tuple[Tensor, Tensor, Tensor]:
    pred_label = pred_label.masked_fill(label == num_classes, num_classes)
    common = label.masked_fill(label != pred_label, num_classes)
    return tuple(
        torch.bincount(pixels, minlength=num_classes + 1)[:num_classes]
        for pixels in (common, pred_label, label))
