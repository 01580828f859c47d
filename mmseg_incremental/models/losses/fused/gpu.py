"""The fused losses on CUDA, pixel by pixel in place of band by band."""
import logging
from functools import lru_cache
from typing import Any, Optional, Tuple

import torch
from mmengine.logging import print_log
from torch import Tensor

from .function import (FusedBatch, full_precision_of_products,
                       refuse_second_derivative)
from .objective import build_objective

try:
    import triton

    from .kernels import (PixelMaps, build_inputs, choose_losses,
                          find_footprint, pull_gradient, score_pixels)
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
        bool: True for logits on CUDA in single or half precision, with at
        most 2**31 - 1 of an image, if Triton is installed and can run them
        there.
    """
    # Within an image the kernels count in 32 bits.
    is_known = logits.is_cuda and all(
        tensor is None or
        (tensor.dtype in TYPES and tensor.shape[1:].numel() < 2**31)
        for tensor in (logits, teacher_logits))
    return triton is not None and is_known and _can_launch(logits.device)


@lru_cache(maxsize=None)
def _can_launch(device: torch.device) -> bool:
    """Try the kernels on a device.

    An old Triton, a GPU that it does not know or a system without the C
    compiler that it needs is found out by nothing else.
    """
    try:
        # What is asked for first may be a validation without gradients.
        with torch.inference_mode(False), torch.enable_grad():
            logits = torch.zeros(1, 2, 2, 2, device=device, requires_grad=True)
            batch = FusedBatch(
                torch.zeros(1, 4, 4, dtype=torch.long, device=device), None,
                torch.ones((), device=device), logits.detach(), 1., 2,
                build_objective(True, True), False, 255)
            sum(KernelLoss.apply(logits, batch)[:2]).backward()
    except torch.cuda.OutOfMemoryError:
        # Says nothing about the kernels.
        raise
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
        maps = PixelMaps(
            *logits.new_empty((num_maps, *size), dtype=torch.float32))
        is_highest = logits.new_empty(size, dtype=torch.bool)
        grid = (triton.cdiv(width, SCORE['PIXELS']), height, num_images)
        sums = maps.old.new_zeros((*grid[::-1], 2))
        with torch.cuda.device_of(logits):
            score_pixels[grid](*build_inputs(logits, batch), maps, is_highest,
                               sums, **choose_losses(batch), **SCORE)
        ctx.save_for_backward(logits, batch.labels, batch.weight, *maps)
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
        logits, labels, weight, *maps = ctx.saved_tensors
        batch = ctx.batch._replace(labels=labels, weight=weight)
        gradient = _pull(logits, batch, PixelMaps(*maps),
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


def _pull(logits: Tensor, batch: FusedBatch, maps: 'PixelMaps',
          scale: Tensor) -> Tensor:
    """The gradient of the logits, each loss scaled, [B, C, h, w]."""
    student, teacher, targets = build_inputs(logits, batch)
    size, target = tuple(logits.shape[2:]), tuple(batch.labels.shape[1:])
    first_row, last_row, columns = find_footprint(size, target,
                                                  batch.align_corners,
                                                  logits.device)
    gradient = maps.old.new_empty((*logits.shape[:3], target[1]))
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
            **choose_losses(batch),
            **PULL)
    if size == target:
        return gradient
    with full_precision_of_products(logits.device.type):
        return gradient @ columns
