"""The fused losses on CUDA, pixel by pixel in place of band by band."""
from functools import lru_cache
from typing import Any, Optional, Tuple

import torch
from torch import Tensor

from .function import (FusedBatch, full_precision_of_products,
                       refuse_second_derivative)
from .groups import ALL
from .interpolation import Interpolation

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
        is installed.
    """
    return triton is not None and logits.is_cuda and all(
        tensor is None or tensor.dtype in TYPES
        for tensor in (logits, teacher_logits))


class KernelLoss(torch.autograd.Function):
    """Both losses, and their gradient from what is kept of each pixel."""

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
        labels, num_channels = batch.labels, logits.size(1)
        torch._assert_async(
            ((labels == batch.ignore_index) | ((labels >= 0) &
                                               (labels < num_channels))).all(),
            f'labels must be channels, 0 to {num_channels - 1}, or '
            f'{batch.ignore_index}, which is ignored.')
        num_maps = 2 if batch.teacher_logits is None else 4
        maps = logits.new_empty((num_maps, *batch.labels.shape),
                                dtype=torch.float32)
        is_highest = torch.empty(
            labels.shape, dtype=torch.bool, device=logits.device)
        num_images, height, width = batch.labels.shape
        grid = (triton.cdiv(width, SCORE['PIXELS']), height, num_images)
        sums = maps.new_zeros((*grid, 2))
        score_pixels[grid](*_inputs(logits, batch), maps, is_highest, sums,
                           **_losses(batch), **SCORE)
        ctx.save_for_backward(logits, maps)
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
        (logits, maps), batch = ctx.saved_tensors, ctx.batch
        student, *others = _inputs(logits, batch)
        size, target = logits.shape[2:], batch.labels.shape[1:]
        first_row, last_row, columns = _footprint(
            tuple(size), tuple(target), batch.align_corners, logits.device)
        gradient = torch.empty((*logits.shape[:3], target[1]),
                               dtype=torch.float32,
                               device=logits.device)
        num_blocks = triton.cdiv(student.num_channels, PULL['CHANNELS'])
        grid = (triton.cdiv(target[1],
                            PULL['PIXELS']), student.height * num_blocks,
                len(logits))
        scale = torch.stack([cross_entropy, distillation])
        teacher = others[0]
        pull_gradient[grid](
            gradient,
            student,
            *others,
            maps,
            scale,
            first_row,
            last_row,
            IS_ALIGNED=teacher is not None
            and teacher.logits.shape[2:] == size,
            **_losses(batch),
            **PULL)
        if size != target:
            with full_precision_of_products(logits.device.type):
                gradient = gradient @ columns
        return gradient.to(logits), None


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
    return Interpolation(source, target, align_corners, torch.float32,
                         torch.device('cpu')).matrix
