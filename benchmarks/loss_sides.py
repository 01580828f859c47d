"""What computes cross entropy with distillation, as `losses.py` times it."""
from functools import partial
from typing import Callable, Dict, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_incremental.models.losses import (distillation, fused_unbiased_loss,
                                             unbiased_cross_entropy,
                                             unbiased_distillation)
from mmseg_incremental.models.losses.fused import build_objective, fused_losses

STOCK = 'cross entropy alone'
REFERENCE = 'cross entropy, softmax of the teacher'
WEIGHT = 10.0


def upsample(logits: Tensor, labels: Tensor) -> Tensor:
    """Resize logits to the labels as MMSegmentation does."""
    size = labels.shape[1:]
    if logits.shape[2:] == size:
        return logits
    return F.interpolate(logits, size, mode='bilinear', align_corners=False)


def stock(logits: Tensor, labels: Tensor, teacher_logits: Tensor) -> Tensor:
    """What a plain MMSegmentation iteration computes."""
    return F.cross_entropy(upsample(logits, labels), labels, ignore_index=255)


def readable(logits: Tensor, labels: Tensor, teacher_logits: Tensor) -> Tensor:
    """The losses of this package on logits of label size."""
    logits, teacher = (upsample(x, labels) for x in (logits, teacher_logits))
    return (unbiased_cross_entropy(logits, labels, teacher.size(1)) +
            WEIGHT * unbiased_distillation(logits, teacher))


def published(logits: Tensor, labels: Tensor,
              teacher_logits: Tensor) -> Tensor:
    """The approach of the published codes, written from its description.

    An array of log probabilities as large as the logits is filled for the
    likelihood of the labels, with labels of old classes set to background,
    and another one is put together for the teacher.
    """
    logits, teacher = (upsample(x, labels) for x in (logits, teacher_logits))
    num_old = teacher.size(1)
    everything = torch.logsumexp(logits, dim=1)
    log_prob = torch.zeros_like(logits)
    log_prob[:, 0] = torch.logsumexp(logits[:, :num_old], dim=1) - everything
    log_prob[:, num_old:] = logits[:, num_old:] - everything.unsqueeze(1)
    target = labels.clone()
    target[target < num_old] = 0
    entropy = F.nll_loss(
        log_prob, target, ignore_index=255, reduction='none').mean()
    unknown = [0, *range(num_old, logits.size(1))]
    background = torch.logsumexp(
        torch.index_select(logits, 1,
                           torch.tensor(unknown, device=logits.device)),
        dim=1) - everything
    known = logits[:, 1:num_old] - everything.unsqueeze(1)
    prob = torch.softmax(teacher, dim=1)
    likelihood = prob[:, 0] * background + (prob[:, 1:] * known).sum(dim=1)
    return entropy - WEIGHT * (likelihood / num_old).mean()


def reference(logits: Tensor, labels: Tensor,
              teacher_logits: Tensor) -> Tensor:
    """What losses with a teacher have to do, by PyTorch's operators."""
    upsample(teacher_logits, labels).softmax(dim=1)
    return stock(logits, labels, teacher_logits)


def fused(logits: Tensor, labels: Tensor, teacher_logits: Tensor) -> Tensor:
    """The losses of this package by default."""
    return sum(fused_unbiased_loss(logits, labels, teacher_logits, WEIGHT))


def readable_lwf(logits: Tensor, labels: Tensor,
                 teacher_logits: Tensor) -> Tensor:
    """Those of LwF: both losses over the classes as they are."""
    logits, teacher = (upsample(x, labels) for x in (logits, teacher_logits))
    return (F.cross_entropy(logits, labels, ignore_index=255) +
            WEIGHT * distillation(logits, teacher))


def fused_variant(unbiased: bool,
                  logits: Tensor,
                  labels: Tensor,
                  teacher_logits: Tensor,
                  class_weight: Optional[Tensor] = None) -> Tensor:
    """The losses of MiB or LwF by default."""
    values = fused_losses(
        logits,
        labels,
        build_objective(unbiased, unbiased),
        teacher_logits.size(1),
        teacher_logits=teacher_logits,
        distill_weight=WEIGHT,
        class_weight=class_weight)
    return values.cross_entropy + values.distillation


def fused_weighted(logits: Tensor, labels: Tensor,
                   teacher_logits: Tensor) -> Tensor:
    """The default of MiB with a weight for each class."""
    weight = torch.linspace(0.5, 1.5, logits.size(1), device=logits.device)
    return fused_variant(True, logits, labels, teacher_logits, weight)


def fused_half(logits: Tensor, labels: Tensor,
               teacher_logits: Tensor) -> Tensor:
    """The default of MiB under mixed precision, and two casts beside it."""
    return fused(logits.bfloat16(), labels, teacher_logits.bfloat16())


SIDES: Dict[str, Callable[..., Tensor]] = {
    STOCK: stock,
    'published approach': published,
    'readable losses': readable,
    'fused losses': fused
}

# Where logits are as large as labels, and nothing is to be interpolated.
REFERENCES: Dict[str, Callable[..., Tensor]] = {REFERENCE: reference}

# The losses of other configs, from logits that are smaller than the labels.
OTHERS: Dict[str, Callable[..., Tensor]] = {
    'readable losses of LwF': readable_lwf,
    'fused losses of LwF': partial(fused_variant, False),
    'fused losses, classes weighted': fused_weighted,
    'fused losses, logits in bfloat16': fused_half
}
ALL = {**SIDES, **REFERENCES, **OTHERS}
# Sides of a group compute the same.
EQUAL = (('published approach', 'readable losses', 'fused losses'),
         ('readable losses of LwF', 'fused losses of LwF'))
