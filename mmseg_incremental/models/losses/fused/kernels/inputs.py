"""What the kernels are called with."""
from functools import lru_cache
from typing import Dict, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from ..function import FusedBatch
from ..groups import ALL
from ..interpolation import Interpolation


class Axis(NamedTuple):
    """Interpolation along one direction, at each pixel.

    Args:
        near (Tensor): Position of the first sample, int32 [pixels].
        far (Tensor): Position of the second one, int32 [pixels].
        part (Tensor): Weight of the second one, within [0, 1], [pixels].
    """

    near: Tensor
    far: Tensor
    part: Tensor


class Source(NamedTuple):
    """Output of a head, and how it is read at the size of the labels.

    Args:
        logits (Tensor): Contiguous, [B, C, h, w].
        num_channels (int): C.
        height (int): h.
        width (int): w.
        rows (Axis): From h to H.
        columns (Axis): From w to W.
    """

    logits: Tensor
    num_channels: int
    height: int
    width: int
    rows: Axis
    columns: Axis


class Targets(NamedTuple):
    """What the logits are compared with, beside the teacher.

    Args:
        labels (Tensor): Channels or ``ignore_index``, [B, H, W].
        weight (Tensor, optional): Of each pixel's cross entropy, [B, H, W].
        factor (Tensor): Weight of all of them, a scalar.
        height (int): H.
        width (int): W.
        ignore_index (int): Label that has no cross entropy.
        num_old (int): O.
        teacher_weight (float): Weight of each pixel's distillation.
    """

    labels: Tensor
    weight: Optional[Tensor]
    factor: Tensor
    height: int
    width: int
    ignore_index: int
    num_old: int
    teacher_weight: float


class PixelMaps(NamedTuple):
    """What the gradient needs of each pixel, float32, [B, H, W] each.

    Args:
        everything (Tensor): Logarithm of the sum of the exponentials of all
            channels of the student.
        old (Tensor): That of its old channels.
        taught (Tensor, optional): That of the channels of the teacher.
        background (Tensor, optional): Log probability of the teacher's
            background less the student's logarithm of what stands for it.
    """

    everything: Tensor
    old: Tensor
    taught: Optional[Tensor] = None
    background: Optional[Tensor] = None


def build_inputs(
        logits: Tensor,
        batch: FusedBatch) -> Tuple[Source, Optional[Source], Targets]:
    """Lay out what the kernels read.

    Args:
        logits (Tensor): Output of the student's head, [B, C, h, w].
        batch (FusedBatch): The rest.

    Returns:
        tuple: The student, the teacher if there is one, and the targets.
    """
    num_images, height, width = batch.labels.shape
    # A weight of whole images is expanded to their pixels.
    weight = None if batch.weight is None else batch.weight.contiguous()
    targets = Targets(batch.labels.contiguous(), weight, batch.factor, height,
                      width, batch.ignore_index, batch.num_old,
                      batch.teacher_weight)
    student, teacher = (None if tensor is None else Source(
        tensor.detach().contiguous(), *tensor.shape[1:],
        *(_axis(*sizes, batch.align_corners, tensor.device)
          for sizes in zip(tensor.shape[2:], (height, width))))
                        for tensor in (logits, batch.teacher_logits))
    return student, teacher, targets


def choose_losses(batch: FusedBatch) -> Dict[str, bool]:
    """Say which losses the kernels compute.

    Args:
        batch (FusedBatch): What the student is compared with.

    Returns:
        dict[str, bool]: Arguments of the kernels.
    """
    return dict(
        COVERS_OLD=bool(batch.objective.label_background),
        IS_UNBIASED=batch.objective.support == ALL)


# One size of crops serves a whole run.
@lru_cache(maxsize=64)
def _axis(source: int, target: int, align_corners: bool,
          device: torch.device) -> Axis:
    """The samples that each pixel along one direction lies between."""
    matrix = _matrix(source, target, align_corners)
    is_used = (matrix != 0).int()
    near = is_used.argmax(dim=1)
    far = source - 1 - is_used.flip(1).argmax(dim=1)
    part = matrix.gather(1, far.unsqueeze(1)).squeeze(1)
    part[near == far] = 0
    return Axis(near.int().to(device), far.int().to(device), part.to(device))


@lru_cache(maxsize=64)
def find_footprint(source: Tuple[int, int], target: Tuple[int, int],
                   align_corners: bool,
                   device: torch.device) -> Tuple[Tensor, Tensor, Tensor]:
    """Find the pixels that are interpolated from each sample.

    Args:
        source (tuple[int, int]): Height and width of the logits, h and w.
        target (tuple[int, int]): Those of the labels, H and W.
        align_corners (bool): As of the head.
        device (torch.device): Where the result is wanted.

    Returns:
        tuple[Tensor, Tensor, Tensor]: The first row of pixels and that behind
        the last one, int32 [h] each, and the weights of columns, [W, w].
    """
    rows, columns = (
        _matrix(*sizes, align_corners) for sizes in zip(source, target))
    is_used = rows.t() != 0
    first = is_used.int().argmax(dim=1)
    last = target[0] - is_used.flip(1).int().argmax(dim=1)
    last[~is_used.any(dim=1)] = 0
    return tuple(
        tensor.to(device)
        for tensor in (first.int(), last.int(), columns.contiguous()))


def _matrix(source: int, target: int, align_corners: bool) -> Tensor:
    """Weight of each sample at each pixel, of two neighbours at most."""
    return Interpolation(source, target, align_corners, torch.float32,
                         torch.device('cpu')).matrix
