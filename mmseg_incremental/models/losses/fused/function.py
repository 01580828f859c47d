"""The autograd function that goes over a batch band by band."""
from contextlib import ExitStack, contextmanager
from typing import Any, Iterator, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from ..utils import full_precision
from .bands import Band, Workspace, cut_into_bands
from .groups import GroupedBand, Grouping, TeacherBand, has_vanished
from .interpolation import BandedLogits
from .objective import Objective
from .scores import BandBatch, BandScores, score_exactly


class FusedBatch(NamedTuple):
    """What the losses of a batch depend on beside the student.

    Args:
        labels (Tensor): Channels or ``ignore_index``, [B, H, W].
        weight (Tensor, optional): Weight of each pixel's cross entropy,
            [B, H, W].
        factor (Tensor): Weight of all of them, a scalar.
        teacher_logits (Tensor, optional): Of shape [B, O, h', w'].
        teacher_weight (float): Weight of each pixel's distillation.
        num_old (int): O, the number of old classes with the background.
        objective (Objective): Which losses.
        align_corners (bool): As of the head.
        ignore_index (int): Label that has no cross entropy.
    """

    labels: Tensor
    weight: Optional[Tensor]
    factor: Tensor
    teacher_logits: Optional[Tensor]
    teacher_weight: float
    num_old: int
    objective: Objective
    align_corners: bool
    ignore_index: int

    def at(self, band: Band) -> BandBatch:
        """What a band is scored by."""
        labels = band.of(self.labels)
        is_ignored = labels == self.ignore_index
        weight = ~is_ignored * self.factor
        if self.weight is not None:
            weight = weight * band.of(self.weight)
        return BandBatch(
            labels.masked_fill(is_ignored, 0), weight, self.teacher_weight,
            self.num_old, self.objective)


def refuse_second_derivative() -> None:
    """Refuse a backward pass that is to be derived again.

    Raises:
        RuntimeError: If a graph of the gradient is asked for.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            'the fused losses have no second derivative, but '
            'create_graph=True asks for it; use the losses on logits of '
            'label size (model.fused_losses=False).')


class FusedLoss(torch.autograd.Function):
    """Both losses and the gradient of their sum in one pass."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor,
                batch: FusedBatch) -> Tuple[Tensor, Tensor, Tensor]:
        """Compute the losses and, if it is wanted, the gradient.

        Args:
            ctx (Any): The context.
            logits (Tensor): Output of the head, [B, C, h, w].
            batch (FusedBatch): The rest.

        Returns:
            tuple[Tensor, Tensor, Tensor]: Cross entropy and distillation as
            scalars, and where no logit is above that of the label, bool
            [B, H, W].
        """
        # Inference mode keeps no graph, whatever its inputs want.
        is_wanted = (
            ctx.needs_input_grad[0] and not torch.is_inference_mode_enabled())
        losses, is_highest, ctx.gradient = _score(logits, batch, is_wanted)
        ctx.save_for_backward(logits)
        ctx.batch = batch
        ctx.mark_non_differentiable(is_highest)
        return losses[0], losses[1], is_highest

    @staticmethod
    def backward(ctx: Any, cross_entropy: Tensor, distillation: Tensor,
                 is_highest: Tensor) -> Tuple[Tensor, None]:
        """Scale the gradient of the sum.

        It is given away: whoever asks may write to it. Another pass is needed
        where it is asked for again, and where both losses go on with different
        factors.

        Raises:
            RuntimeError: If a graph of the gradient is asked for.
        """
        refuse_second_derivative()
        logits, = ctx.saved_tensors
        batch = ctx.batch
        gradient, ctx.gradient = ctx.gradient, None
        differ = batch.teacher_logits is not None and not torch.equal(
            cross_entropy, distillation)
        if differ or gradient is None:
            batch = batch._replace(
                factor=batch.factor * cross_entropy,
                teacher_weight=batch.teacher_weight * float(distillation))
            return _score(logits, batch, True)[-1].to(logits), None
        if logits.device.type == 'cpu' and cross_entropy == 1:
            # Without a loss scale; a GPU would have to be waited for.
            return gradient.to(logits), None
        return (gradient * cross_entropy).to(logits), None


def _score(logits: Tensor, batch: FusedBatch,
           needs_gradient: bool) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
    """Losses, where the labels are highest, and gradient of a batch."""
    size = batch.labels.shape[1:]
    like = full_precision(logits.new_empty(0))
    student = BandedLogits(logits, size, batch.align_corners, 'student')
    teacher = batch.teacher_logits
    if teacher is not None:
        teacher = BandedLogits(teacher, size, batch.align_corners, 'teacher')
    gradient = torch.empty_like(
        logits, dtype=like.dtype) if needs_gradient else None
    if needs_gradient and student.rows is not None:
        # Bands add to it, where they have rows of samples in common.
        gradient.zero_()
    is_highest = torch.empty_like(batch.labels, dtype=torch.bool)
    losses = like.new_zeros(2)
    space = Workspace(like)
    grouping = Grouping(
        logits.size(1), batch.num_old,
        batch.objective.sums(teacher is not None), like)
    with full_precision_of_products(logits.device.type):
        for band in cut_into_bands(logits, size):
            *values, highest, band_gradient = _score_band(
                student, teacher, grouping, space, band, batch, needs_gradient)
            if needs_gradient:
                student.pull_back(band, band_gradient, gradient)
            losses += torch.stack(values)
            band.of(is_highest).copy_(
                highest & (band.of(batch.labels) != batch.ignore_index))
    return losses, is_highest, gradient


def _score_band(
        student: BandedLogits, teacher: Optional[BandedLogits],
        grouping: Grouping, space: Workspace, band: Band, batch: FusedBatch,
        needs_gradient: bool
) -> Tuple[Tensor, Tensor, Tensor, Optional[Tensor]]:
    """Both losses, where the labels are highest, and gradient of a band."""
    band_batch = batch.at(band)
    taught = None if teacher is None else TeacherBand(teacher.read(band))
    grouped = GroupedBand(student.read(band), grouping, space)
    if has_vanished(grouped.totals) or (taught is not None
                                        and has_vanished(taught.total)):
        return score_exactly(
            student.read(band), teacher and teacher.read(band), band_batch,
            needs_gradient)
    scores = BandScores(grouped, band_batch, taught)
    gradient = scores.gradient() if needs_gradient else None
    return (scores.cross_entropy, scores.distillation, scores.is_highest,
            gradient)


@contextmanager
def full_precision_of_products(device: str) -> Iterator[None]:
    """Interpolate as exactly as ``torch.nn.functional.interpolate``.

    Sums over groups of classes are products too. Autocasting and what a user
    sets for the speed of products, by ``torch.set_float32_matmul_precision``
    or by ``fp32_precision`` of a backend, would round logits and sums. The
    latter two are of the whole process: other threads see them meanwhile.

    Args:
        device (str): Type of the device.
    """
    with ExitStack() as stack:
        backends = [
            backend for backend in (torch.backends.cuda.matmul,
                                    torch.backends.mkldnn.matmul)
            if hasattr(backend, 'fp32_precision')
        ]
        for backend in backends:
            stack.callback(setattr, backend, 'fp32_precision',
                           backend.fp32_precision)
            backend.fp32_precision = 'ieee'
        if not backends:
            # PyTorch before 2.9.
            stack.callback(torch.set_float32_matmul_precision,
                           torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision('highest')
        stack.enter_context(torch.autocast(device, enabled=False))
        yield
