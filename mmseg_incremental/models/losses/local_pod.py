"""Local pooled outputs distillation of PLOP."""
from typing import List, Sequence, Tuple

import torch
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario.labels import is_integer, is_list
from .distillation import BaseDistillationLoss
from .outputs import StepOutputs
from .utils import check_loss_weight, check_same_pixels, full_precision

SCALES = (1, 2, 4)


def local_pod(feats: Sequence[Tensor],
              teacher_feats: Sequence[Tensor],
              logits: Tensor,
              teacher_logits: Tensor,
              feature_factor: float = 0.01,
              logit_factor: float = 0.0005,
              scales: Sequence[int] = SCALES) -> Tensor:
    r"""Distance between the pooled maps of student and teacher.

    `PLOP: Learning without Forgetting for Continual Semantic Segmentation
    <https://arxiv.org/abs/2011.11390>`_, eq. 1-4. Every map is squared, cut
    into s x s cells for each scale s, and averaged in every cell along the
    width and along the height; the averages of all scales make up one
    embedding. With :math:`\Phi_l` the embedding of map l of L:

    .. math::
        \ell = \sqrt{\frac{C}{N}} \frac{1}{L} \sum_l f_l \frac{1}{B} \sum_b
        \lVert \Phi_l(x_b) - \Phi_l^{t-1}(x_b) \rVert_2

    The logits are the last map: those of the new classes are added to the
    background's, as in the official code. Side lengths that a scale does not
    divide lose the remainder, as there. Unlike there, maps need not be
    square, and a map smaller than the scale has one cell a pixel.

    Args:
        feats (Sequence[Tensor]): Student maps of [B, channels, height, width]
            each. Half precision is computed in float32.
        teacher_feats (Sequence[Tensor]): Those of the teacher. No gradient
            flows into them.
        logits (Tensor): Student logits of all seen classes, as the head
            returns them, [B, C, h, w].
        teacher_logits (Tensor): Teacher logits of the old classes,
            [B, O, h, w], O <= C.
        feature_factor (float): f_l of the features. Defaults to 0.01, that
            for VOC.
        logit_factor (float): f_l of the logits. Defaults to 0.0005, that for
            VOC in the overlapped setting.
        scales (Sequence[int]): Cells along each side. Defaults to (1, 2, 4).

    Returns:
        Tensor: A scalar. With O == C, no new class, N counts as 1.

    Raises:
        ValueError: If student and teacher differ in the number or shape of
            their maps, or if O is not within 1..C.
    """
    check_same_pixels(logits, teacher_logits)
    if [f.shape for f in feats] != [f.shape for f in teacher_feats]:
        raise ValueError(
            'the features of student and teacher must have the same shapes, '
            f'but are {[list(f.shape) for f in feats]} and '
            f'{[list(f.shape) for f in teacher_feats]}')
    num_old, num_seen = teacher_logits.size(1), logits.size(1)
    pairs = list(zip(feats, teacher_feats))
    pairs.append((_background_with_new(logits, num_old), teacher_logits))
    factors = [feature_factor] * len(feats) + [logit_factor]
    distances = [
        factor * _pod_distance(new, old, scales)
        for factor, (new, old) in zip(factors, pairs)
    ]
    rescale = (num_seen / max(num_seen - num_old, 1))**0.5
    return rescale * torch.stack(distances).mean()


def _background_with_new(logits: Tensor, num_old: int) -> Tensor:
    """The old channels, those of the new classes added to the background."""
    logits = full_precision(logits)
    background = logits[:, :1] + logits[:, num_old:].sum(dim=1, keepdim=True)
    return torch.cat((background, logits[:, 1:num_old]), dim=1)


def _pod_distance(new: Tensor, old: Tensor, scales: Sequence[int]) -> Tensor:
    """Distance of the embeddings of two maps, averaged over the batch."""
    # Pooling is linear: one pass over the difference serves both maps.
    difference = full_precision(new).square() - full_precision(
        old.detach()).square()
    pooled: List[Tensor] = []
    for scale in scales:
        pooled += _pool_cells(difference, scale)
    embedding = torch.cat([p.flatten(1) for p in pooled], dim=1)
    # Its gradient at 0 is 0.
    return torch.linalg.vector_norm(embedding, dim=1).mean()


def _pool_cells(feature: Tensor, scale: int) -> Tuple[Tensor, Tensor]:
    """Average the cells of one scale along the width, and the height."""
    height, width = feature.shape[2:]
    rows, columns = min(scale, height), min(scale, width)
    cell_h, cell_w = height // rows, width // columns
    cells = feature[:, :, :rows * cell_h, :columns * cell_w].unflatten(
        3, (columns, cell_w)).unflatten(2, (rows, cell_h))
    return cells.mean(dim=5), cells.mean(dim=3)


@MODELS.register_module()
class LocalPODLoss(BaseDistillationLoss):
    """Local POD over the stages of the backbone, the head and its logits.

    See :func:`local_pod`. The maps are the backbone's stages, what the
    classifier reads, and the logits; of PLOP on ResNet and ASPP these are the
    six of the official code. The stages of ResNet and its descendants are
    read before their last activation, as the paper asks for. Those of
    MobileNetV2, MiT, Swin and ViT end in none; where another backbone's do,
    it is included.

    Args:
        feature_factor (float): Factor of all maps but the logits. Defaults
            to 0.01, that for VOC; ADE20K: 0.001.
        logit_factor (float): Factor of the logits. Defaults to 0.0005, that
            for VOC overlapped; VOC disjoint: 0.0001, ADE20K: 0.00001.
        scales (Sequence[int]): Cells along each side of a map. Defaults to
            (1, 2, 4).
        loss_weight (float): Weight of the loss. Defaults to 1.0.
        loss_name (str): Name of the loss item. Defaults to 'loss_pod'.

    Raises:
        IncrementalConfigError: If a factor or ``loss_weight`` is not a finite
            number >= 0 or a scale is not a positive integer.
    """

    reads = ('stages', 'embedding', 'logits')

    def __init__(self,
                 feature_factor: float = 0.01,
                 logit_factor: float = 0.0005,
                 scales: Sequence[int] = SCALES,
                 loss_weight: float = 1.0,
                 loss_name: str = 'loss_pod') -> None:
        super().__init__(loss_weight, loss_name)
        if not is_list(scales) or not len(scales) or not all(
                is_integer(scale) and scale >= 1 for scale in scales):
            raise IncrementalConfigError(
                f'scales of {loss_name!r} is {scales!r}, but must list '
                'positive integers, as (1, 2, 4).')
        self.feature_factor = check_loss_weight(feature_factor, loss_name,
                                                'feature_factor')
        self.logit_factor = check_loss_weight(logit_factor, loss_name,
                                              'logit_factor')
        self.scales = tuple(scales)

    def forward(self, student: StepOutputs, teacher: StepOutputs) -> Tensor:
        """Compute the weighted loss, as a scalar."""
        return self.loss_weight * local_pod(
            (*student.stages, student.embedding),
            (*teacher.stages, teacher.embedding), student.logits,
            teacher.logits, self.feature_factor, self.logit_factor,
            self.scales)
