"""The fused losses on CUDA, pixel by pixel in place of band by band."""
import logging
from functools import lru_cache
from typing import Any, Optional, Tuple

import torch
from mmengine.logging import print_log
from torch import Tensor

from .function import (FusedBatch, full_precision_of_products,
                       refuse_second_derivative)
from .groups import ALL
from .interpolation import Interpolation
from .objective import build_objective

try:
    import triton

    from .kernels import Axis, Source, Targets, pull_gradient, score_pixels
except ImportError:
    triton = None

# Channels and pixels that a program of a kernel has at a time, and its warps.
SCORE = dict(CHANNELS=2, PIXELS=128, num_warps=4)
PULL = dict(CHANNELS=4, PIXELS=128, num_warps=4)
TYPES = (torch.float32, torch.float16, torch.bfloat16)


def has_kernels(logits: Tensor, teacher_logits: Optional[Tensor]) -> bool:
    """Whether kernels compute the losses of a batch.

    Args:
        logits (Tensor): Output of the student's head, [B, C, h, w].
        teacher_logits (Tensor, optional): That of the teacher's.

    Returns:
        bool: True for logits on CUDA in single or half precision, if Triton
        is installed and can run them there.
    """
    is_known = logits.is_cuda and all(
        tensor is None or tensor.dtype in TYPES
        for tensor in (logits, teacher_logits))
    return triton is not None and is_known and _can_launch(logits.device)


@lru_cache(maxsize=None)
def _can_launch(device: torch.device) -> bool:
    """Try the kernels on a device.

    An old Triton, a GPU that it does not know or a system without the C
    compiler that it needs is found out by nothing else.
    """
    logits = torch.zeros(1, 2, 2, 2, device=device, requires_grad=True)
    batch = FusedBatch(
        torch.zeros(1, 4, 4, dtype=torch.long, device=device), None,
        torch.ones((), device=device), logits.detach(), 1., 2,
        build_objective(True, True), False, 255)
    try:
        with torch.enable_grad():
            sum(KernelLoss.apply(logits, batch)[:2]).backward()
    except Exception as error:
        print_log(
            f'Triton cannot run the kernels of the fused losses on {device}, '
            'so they are computed in bands of rows, which takes longer: '
            f'{type(error).__name__}: {error}',
            logger='current',
            level=logging.WARNING)
        return False
    return True


class KernelLoss(torch.autograd.Function):
    """Both losses, and their gradient from what is kept of each pixel.

    The logits of the teacher must not change before the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor,
                batch: FusedBatch) -> Tuple[Tensor, Tensor, Tensor]:
        """Compute the losses.

        Args:
            ctx (Any): The context.
            logits (Tensor): Output of the head, [B, C, h, w].
            batch (FusedBatch): The rest.

        Returns:
            tuple[Tensor, Tensor, Tensor]: Cross entropy and distillation as
            scalars, and where no logit is above that of the label, bool
            [B, H, W].
        """
        _check_labels(batch, logits.size(1))
        num_images, height, width = size = batch.labels.shape
        num_maps = 2 if batch.teacher_logits is None else 4
        maps = logits.new_empty((num_maps, *size), dtype=torch.float32)
        is_highest = maps.new_empty(size, dtype=torch.bool)
        grid = (triton.cdiv(width, SCORE['PIXELS']), height, num_images)
        sums = maps.new_zeros((*grid, 2))
        with torch.cuda.device_of(logits):
            score_pixels[grid](*_inputs(logits, batch), maps, is_highest, sums,
                               **_losses(batch), **SCORE)
        ctx.save_for_backward(logits, maps, batch.labels, batch.weight)
        ctx.batch = batch
        ctx.mark_non_differentiable(is_highest)
        cross_entropy, distillation = sums.sum(dim=(0, 1, 2))
        return cross_entropy, distillation, is_highest

    @staticmethod
    def backward(ctx: Any, cross_entropy: Tensor, distillation: Tensor,
                 is_highest: Tensor) -> Tuple[Tensor, None]:
        """Compute the gradient, each loss scaled by its own factor.

        Raises:
            RuntimeError: If a graph of the gradient is asked for.
        """
        refuse_second_derivative()
        logits, maps, labels, weight = ctx.saved_tensors
        batch = ctx.batch._replace(labels=labels, weight=weight)
        gradient = _pull(logits, batch, maps,
                         torch.stack([cross_entropy, distillation]))
        return gradient.to(logits), None


def _check_labels(batch: FusedBatch, num_channels: int) -> None:
    """Refuse labels that are no channel, without waiting for the GPU."""
    labels = batch.labels
    is_channel = (labels >= 0) & (labels < num_channels)
    torch._assert_async(
        (is_channel | (labels == batch.ignore_index)).all(),
        f'labels must be channels, 0 to {num_channels - 1}, or '
        f'{batch.ignore_index}, which is ignored.')


def _pull(logits: Tensor, batch: FusedBatch, maps: Tensor,
          scale: Tensor) -> Tensor:
    """The gradient of the logits, each loss scaled, [B, C, h, w]."""
    student, teacher, targets = _inputs(logits, batch)
    size, target = tuple(logits.shape[2:]), tuple(batch.labels.shape[1:])
    first_row, last_row, columns = _footprint(size, target,
                                              batch.align_corners,
                                              logits.device)
    gradient = maps.new_empty((*logits.shape[:3], target[1]))
    num_blocks = triton.cdiv(logits.size(1), PULL['CHANNELS'])
    grid = (size[0] * num_blocks, triton.cdiv(target[1],
                                              PULL['PIXELS']), len(logits))
    is_aligned = teacher is not None and teacher.logits.shape[2:] == size
    with torch.cuda.device_of(logits):
        pull_gradient[grid](
            gradient,
            student,
            teacher,
            targets,
            maps,
            scale,
            first_row,
            last_row,
            IS_ALIGNED=is_aligned,
            **_losses(batch),
            **PULL)
    if size == target:
        return gradient
    with full_precision_of_products(logits.device.type):
        return gradient @ columns


def _inputs(logits: Tensor, batch: FusedBatch) -> tuple:
    """What the logits of a batch are and what they are compared with."""
    num_images, height, width = batch.labels.shape
    # A weight of whole images is expanded to their pixels.
    weight = None if batch.weight is None else batch.weight.contiguous()
    targets = Targets(batch.labels.contiguous(), weight, batch.factor, height,
                      width, batch.labels.numel(), batch.ignore_index,
                      batch.num_old, batch.teacher_weight)
    student, teacher = (None if tensor is None else Source(
        tensor.detach().contiguous(), *tensor.shape[1:],
        *(_axis(*sizes, batch.align_corners, tensor.device)
          for sizes in zip(tensor.shape[2:], (height, width))))
                        for tensor in (logits, batch.teacher_logits))
    return student, teacher, targets


def _losses(batch: FusedBatch) -> dict:
    """Which losses the kernels compute."""
    return dict(
        COVERS_OLD=bool(batch.objective.label_background),
        IS_UNBIASED=batch.objective.support == ALL)


# One size of crops serves a whole run.
@lru_cache(maxsize=64)
def _axis(source: int, target: int, align_corners: bool,
          device: torch.device) -> 'Axis':
    """The samples that each pixel along one direction lies between."""
    matrix = _matrix(source, target, align_corners)
    is_used = (matrix != 0).int()
    near = is_used.argmax(dim=1)
    far = source - 1 - is_used.flip(1).argmax(dim=1)
    part = matrix.gather(1, far.unsqueeze(1)).squeeze(1)
    part[near == far] = 0
    return Axis(near.int().to(device), far.int().to(device), part.to(device))


@lru_cache(maxsize=64)
def _footprint(source: Tuple[int, int], target: Tuple[int, int],
               align_corners: bool,
               device: torch.device) -> Tuple[Tensor, Tensor, Tensor]:
    """First and last row of pixels of each sample, weights of columns."""
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
