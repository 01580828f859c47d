"""Time a training iteration with a teacher beside MMSegmentation's own."""
import argparse
import copy
from typing import Callable, Dict, List, NamedTuple, Optional

import numpy as np
import torch
import torch.nn.functional as F
from common import (alternate, build_parser, describe_machine, markdown_table,
                    positive_int)
from mmengine.config import ConfigDict
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_incremental.engine import load_config
from mmseg_incremental.engine.model_config import (head_configs,
                                                   without_pretrained)
from mmseg_incremental.models.teacher import (cast_weights, fold_batch_norm,
                                              precision)

MODELS_OF = {
    'MobileNetV2-ASPP': 'voc_15-5_cpu',
    'DeepLabV3+ ResNet-50': 'voc_15-5_deeplabv3plus_r50',
    'SegFormer-B0': 'voc_15-5_segformer_mit-b0'
}
CLASSES = ((21, 16), (151, 101))
STOCK = 'MMSegmentation'
FLOORS = {
    'forward pass of the teacher': None,
    'forward pass of the teacher, teacher in bfloat16': torch.bfloat16
}
SIZE = 256


class Side(NamedTuple):
    """What trains beside plain MMSegmentation.

    Attributes:
        fused (bool): Whether the losses are computed from small logits.
        fold (bool): Whether the teacher's BatchNorm layers are folded.
        dtype (torch.dtype, optional): What the teacher computes in.
    """

    fused: bool = True
    fold: bool = True
    dtype: Optional[torch.dtype] = None


SIDES = {
    'MiB': Side(),
    'MiB, teacher in bfloat16': Side(dtype=torch.bfloat16),
    'MiB, readable losses and plain teacher': Side(fused=False, fold=False)
}


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
    student.set_teacher(build_teacher(cfg, num_old, side.fold), side.dtype)
    return student


def build_teacher(cfg: ConfigDict, num_old: int, fold: bool) -> nn.Module:
    """Build the model of the step before."""
    teacher = build_model(
        copy.deepcopy(cfg),
        num_old,
        dict(type='CrossEntropyLoss'),
        type='IncrementalEncoderDecoder').eval()
    return fold_batch_norm(teacher) if fold else teacher


def forward_alone(teacher: nn.Module,
                  batch: tuple,
                  dtype: Optional[torch.dtype] = None) -> Callable[[], None]:
    """What a teacher costs at least, without any loss."""

    def run() -> None:
        with torch.inference_mode(), precision(get_device(), dtype):
            teacher(batch[0], mode='tensor')

    return run


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
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)

    def run() -> None:
        optimizer.zero_grad()
        with torch.autocast(get_device(), dtype, enabled=dtype is not None):
            loss = model.parse_losses(model.loss(*batch))[0]
        loss.backward()
        optimizer.step()

    return run


def draw_batch(num_images: int, num_classes: int, size: int = SIZE) -> tuple:
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


def compare(name: str, num_classes: int, num_old: int,
            args: argparse.Namespace) -> List[List[str]]:
    """Time all sides with one model.

    Args:
        name (str): Name of the model.
        num_classes (int): Classes of the student.
        num_old (int): Classes of the teacher.
        args (argparse.Namespace): The command line.

    Returns:
        list[list[str]]: Rows of the table.
    """
    cfg = load_config(f'configs/incremental/{MODELS_OF[name]}.py').model
    batch = draw_batch(args.batch, num_classes)
    models: Dict[str, nn.Module] = {
        STOCK:
        build_model(
            copy.deepcopy(cfg),
            num_classes,
            dict(type='CrossEntropyLoss'),
            type='EncoderDecoder')
    }
    for side, options in SIDES.items():
        models[side] = build_student(cfg, num_classes, num_old, options)
    functions = {
        side: iteration(model, batch)
        for side, model in models.items()
    }
    teacher = build_teacher(cfg, num_old, True)
    for name_of_floor, dtype in FLOORS.items():
        cast = copy.deepcopy(teacher)
        cast_weights(cast, dtype)
        functions[name_of_floor] = forward_alone(cast, batch, dtype)
    times = alternate(functions, args.repeats)
    return [[
        f'{name}, {num_classes} ({num_old} old)', side,
        f'{np.median(values):.0f}', f'{np.median(values / times[STOCK]):.2f}'
    ] for side, values in times.items()]


def main() -> None:
    """Run the benchmark and print a table for benchmarks/README.md."""
    parser = build_parser(__doc__, 'timed iterations of each side')
    parser.add_argument('--batch', type=positive_int, default=4, help='images')
    parser.add_argument(
        '--models',
        nargs='+',
        choices=MODELS_OF,
        default=list(MODELS_OF),
        help='which models')
    args = parser.parse_args()
    init_default_scope('mmseg')
    rows = [
        row for name in args.models for classes in CLASSES
        for row in compare(name, *classes, args)
    ]
    print(
        markdown_table(('model, classes', 'side', 'ms', f'to {STOCK}'), rows))
    print(f'\n- Batch {args.batch}, {SIZE} x {SIZE} pixels, medians of '
          f'{args.repeats}')
    print(describe_machine())


if __name__ == '__main__':
    main()
