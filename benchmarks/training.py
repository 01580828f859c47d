"""Models that train on one batch over and over, with and without a teacher."""
import copy
from typing import Callable, NamedTuple, Optional

import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_incremental.engine.model_config import (head_configs,
                                                   without_pretrained)
from mmseg_incremental.models.teacher import (compile_teacher, fold_batch_norm,
                                              precision)


class Side(NamedTuple):
    """What trains beside plain MMSegmentation.

    Attributes:
        fused (bool): Whether the losses are computed from small logits.
        fold (bool): Whether the teacher's BatchNorm layers are folded.
        dtype (torch.dtype, optional): What the teacher computes in.
        compiled (bool): Whether the teacher is compiled.
    """

    fused: bool = True
    fold: bool = True
    dtype: Optional[torch.dtype] = None
    compiled: bool = False


def build_model(cfg: ConfigDict, num_classes: int, loss: dict,
                **kwargs: object) -> nn.Module:
    """Build a segmentor with random weights in channels-last layout."""
    torch.manual_seed(0)
    cfg = without_pretrained(cfg)
    for head in head_configs(cfg):
        head.num_classes = num_classes
        head.loss_decode = dict(
            loss,
            loss_weight=head.get('loss_decode', {}).get('loss_weight', 1.0))
    cfg.update(kwargs)
    model = revert_sync_batchnorm(MODELS.build(cfg))
    return model.to(get_device(), memory_format=torch.channels_last)


def build_student(cfg: ConfigDict, num_classes: int, num_old: int,
                  side: Side) -> nn.Module:
    """Build a segmentor of a later step of MiB with its teacher."""
    student = build_model(
        copy.deepcopy(cfg),
        num_classes,
        dict(type='UnbiasedCrossEntropyLoss', num_old=num_old),
        type='IncrementalEncoderDecoder',
        distillation=[dict(type='UnbiasedDistillationLoss')],
        fused_losses=side.fused)
    teacher = build_teacher(cfg, num_old, side.fold)
    compile_teacher(teacher, side.compiled)
    student.set_teacher(teacher, side.dtype)
    return student


def build_teacher(cfg: ConfigDict, num_old: int, fold: bool) -> nn.Module:
    """Build the model of the step before."""
    teacher = build_model(
        copy.deepcopy(cfg),
        num_old,
        dict(type='CrossEntropyLoss'),
        type='IncrementalEncoderDecoder').eval()
    return fold_batch_norm(teacher) if fold else teacher


def networks_alone(student: nn.Module, teacher: nn.Module, batch: tuple,
                   dtype: Optional[torch.dtype]) -> Callable[[], None]:
    """What an iteration with a teacher takes at least, with free losses.

    Args:
        student (nn.Module): The segmentor in training.
        teacher (nn.Module): That of the step before.
        batch (tuple): Images and samples.
        dtype (torch.dtype, optional): What the teacher computes in.

    Returns:
        Callable: An iteration whose loss is the mean of the logits. Their sum
        would drive the weights out of the range of those in training.
    """
    student.train()
    optimizer = build_optimizer(student)

    def run() -> None:
        optimizer.zero_grad()
        with torch.inference_mode(), precision(get_device(), dtype):
            mean_logits(teacher, batch[0])
        mean_logits(student, batch[0]).backward()
        optimizer.step()

    return run


def mean_logits(model: nn.Module, images: Tensor) -> Tensor:
    """The mean of the logits, summed over all heads."""
    features = model.extract_feat(images)
    heads = [model.decode_head]
    if model.with_auxiliary_head:
        others = model.auxiliary_head
        heads += others if isinstance(others, nn.ModuleList) else [others]
    return sum(head(features).mean() for head in heads)


def build_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of every side."""
    return torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)


def iteration(model: nn.Module,
              batch: tuple,
              dtype: Optional[torch.dtype] = None) -> Callable[[], None]:
    """A function that trains on one batch.

    Args:
        model (nn.Module): The segmentor.
        batch (tuple): Images and samples.
        dtype (torch.dtype, optional): What it autocasts to. Defaults to None,
            nothing.

    Returns:
        Callable: An iteration.
    """
    model.train()
    optimizer = build_optimizer(model)

    def run() -> None:
        optimizer.zero_grad()
        with torch.autocast(get_device(), dtype, enabled=dtype is not None):
            loss = model.parse_losses(model.loss(*batch))[0]
        loss.backward()
        optimizer.step()

    return run


def draw_batch(num_images: int, num_classes: int, size: int) -> tuple:
    """Pictures of noise with labels in squares of eight pixels."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(num_images, 3, size, size, generator=generator)
    labels = torch.randint(
        num_classes, (num_images, 1, size // 8, size // 8),
        generator=generator)
    samples = [
        SegDataSample(
            gt_sem_seg=PixelData(data=label),
            metainfo=dict(img_shape=(size, size)))
        for label in F.interpolate(labels.float(), size).long()
    ]
    samples = [sample.to(get_device()) for sample in samples]
    return images.to(get_device()), samples
