"""Labels and their weights on the way to the losses of a head."""
from contextlib import contextmanager
from typing import Iterator, Optional

import torch
from mmengine.structures import PixelData
from mmseg.utils import SampleList
from torch import Tensor, nn

from mmseg_incremental.scenario import VOID


def stack_labels(data_samples: SampleList) -> Tensor:
    """Stack the labels of a batch.

    Args:
        data_samples (list[:obj:`SegDataSample`]): With ``gt_sem_seg``.

    Returns:
        Tensor: Head indices or 255, int64 [B, H, W].
    """
    return torch.stack([s.gt_sem_seg.data for s in data_samples]).squeeze(1)


def with_labels(data_samples: SampleList, labels: Tensor) -> SampleList:
    """Exchange the labels of a batch.

    Args:
        data_samples (list[:obj:`SegDataSample`]): Left as they are.
        labels (Tensor): Of shape [B, H, W].

    Returns:
        list[:obj:`SegDataSample`]: New ones with these labels.
    """
    completed = []
    for sample, label in zip(data_samples, labels):
        sample = sample.new()
        sample.gt_sem_seg = PixelData(data=label[None])
        completed.append(sample)
    return completed


def labelled_share(labels: Tensor, completed: Tensor) -> Tensor:
    """How much of the background takes part in the classification.

    Args:
        labels (Tensor): Head indices or 255, [B, H, W].
        completed (Tensor): What a label completer made of them.

    Returns:
        Tensor: Percentage of the background pixels that are not ignored, a
        scalar.
    """
    is_background = labels == 0
    is_labelled = is_background & (completed != VOID)
    return 100 * is_labelled.sum() / is_background.sum().clamp(min=1)


class _PixelWeights:
    """Stands where a head has its pixel sampler, and gives weights."""

    def __init__(self, weight: Tensor, sampler: Optional[object]) -> None:
        self.weight = weight
        self.sampler = sampler

    def sample(self, seg_logit: Tensor, seg_label: Tensor) -> Tensor:
        """Weights of the pixels, times those of the head's own sampler."""
        if self.sampler is None:
            return self.weight
        return self.weight * self.sampler.sample(seg_logit, seg_label)


@contextmanager
def weighted_pixels(head: nn.Module,
                    weight: Optional[Tensor]) -> Iterator[None]:
    """Weight the pixels in the losses of a head inside the ``with`` block.

    Args:
        head (nn.Module): A decode or auxiliary head.
        weight (Tensor, optional): Of shape [B, H, W]; None changes nothing.
    """
    if weight is None:
        yield
        return
    sampler = head.sampler
    head.sampler = _PixelWeights(weight, sampler)
    try:
        yield
    finally:
        head.sampler = sampler
