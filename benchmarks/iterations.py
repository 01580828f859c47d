"""Time a training iteration with a teacher beside MMSegmentation's own."""
import argparse
from typing import Callable, Dict, Iterable, List, Sequence, Tuple

import numpy as np
import torch
from common import (HALF, STOCK, alternate, build_parser, describe_machine,
                    markdown_table, peak_memories, positive_int, ratio_cells)
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from training import (Side, build_model, build_student, build_teacher,
                      draw_batch, iteration, networks_alone)

from mmseg_incremental.engine import load_config
from mmseg_incremental.engine.device import has_fast_products
from mmseg_incremental.models.teacher import cast_weights

MODELS_OF = {
    'MobileNetV2-ASPP': 'voc_15-5_cpu',
    'DeepLabV3+ ResNet-50': 'voc_15-5_deeplabv3plus_r50',
    'SegFormer-B0': 'voc_15-5_segformer_mit-b0'
}
CLASSES = ((21, 16), (151, 101))
LEFT_OUT = f'No {HALF}, for which PyTorch has no fast kernels here'
SIZE = 256
# Classes of student and teacher, and the name of a side.
Run = Tuple[Tuple[int, int], str]

REFERENCES = {
    'networks alone': None,
    f'networks alone, {HALF}': torch.bfloat16
}
SIDES = {
    'MiB': Side(),
    f'MiB, {HALF}': Side(dtype=torch.bfloat16),
    'MiB, readable losses and plain teacher': Side(fused=False, fold=False)
}
# Compilation takes longer than all else.
COMPILED = {'MiB, teacher compiled': Side(compiled=True)}


def build(name: str, classes: Tuple[int, int], side: str, num_images: int,
          size: int) -> Callable[[], None]:
    """A function that makes an iteration of a side or reference.

    Args:
        name (str): Name of the model.
        classes (tuple[int, int]): Classes of the student and of the teacher.
        side (str): Name of the side.
        num_images (int): Images of a batch.
        size (int): Their height and width.

    Returns:
        Callable: The function.
    """
    init_default_scope('mmseg')
    cfg = load_config(f'configs/incremental/{MODELS_OF[name]}.py').model
    num_classes, num_old = classes
    batch = draw_batch(num_images, num_classes, size)
    loss = dict(type='CrossEntropyLoss')
    if side == STOCK:
        return iteration(
            build_model(cfg, num_classes, loss, type='EncoderDecoder'), batch)
    sides = {**SIDES, **COMPILED}
    if side in sides:
        return iteration(
            build_student(cfg, num_classes, num_old, sides[side]), batch)
    teacher = build_teacher(cfg, num_old, True)
    cast_weights(teacher, REFERENCES[side])
    return networks_alone(
        build_model(cfg, num_classes, loss, type='EncoderDecoder'), teacher,
        batch, REFERENCES[side])


def is_fast_in_half() -> bool:
    """Whether bfloat16 does not take many times as long as float32."""
    return get_device() != 'cpu' or has_fast_products(torch.bfloat16)


def measured(sides: Iterable[str]) -> List[str]:
    """The sides without those that would take longest and tell nothing."""
    return [side for side in sides if is_fast_in_half() or HALF not in side]


def compare(name: str, args: argparse.Namespace) -> List[List[str]]:
    """Measure all sides with one model.

    The reference is measured with few classes alone: it takes less than that
    of many.

    Args:
        name (str): Name of the model.
        args (argparse.Namespace): The command line.

    Returns:
        list[list[str]]: Rows of the table.
    """
    ours = measured((STOCK, *SIDES))
    timed = [*ours, *(COMPILED if args.compile else ())]
    references = measured(REFERENCES)
    runs = [(classes, side) for classes in CLASSES for side in timed]
    runs += [(CLASSES[0], reference) for reference in references]
    times = alternate(
        {run: build(name, *run, args.batch, SIZE)
         for run in runs}, args.repeats)
    peaks = measure_peaks(name, ours, args.batch)
    rows = []
    for classes in CLASSES:
        for side in (*timed, *references):
            taken = times[CLASSES[0] if side in references else classes, side]
            rows.append([
                '{}, {} ({} old)'.format(name, *classes), side,
                f'{np.median(taken):.0f}',
                *ratio_cells(taken, times[classes, STOCK]),
                f'{peaks[classes, side]:.0f}' if side in ours else ''
            ])
    return rows


def measure_peaks(name: str, sides: Sequence[str],
                  num_images: int) -> Dict[Run, float]:
    """Most memory of an iteration of each side.

    Args:
        name (str): Name of the model.
        sides (Sequence[str]): Names of the sides.
        num_images (int): Images of a batch.

    Returns:
        dict[tuple, float]: MiB by classes and side.
    """
    # Any model will do for the libraries that are loaded late.
    small = (next(iter(MODELS_OF)), CLASSES[0])
    runs = [(classes, side) for classes in CLASSES for side in sides]
    return dict(
        zip(
            runs,
            peak_memories(build, [((*small, side, 2, SIZE // 4),
                                   (name, classes, side, num_images, SIZE))
                                  for classes, side in runs])))


def main() -> None:
    """Run the benchmark and print a table for benchmarks/README.md."""
    parser = build_parser(__doc__, 'timed iterations of each side')
    parser.add_argument('--batch', type=positive_int, default=2, help='images')
    parser.add_argument(
        '--models',
        nargs='+',
        choices=MODELS_OF,
        default=list(MODELS_OF),
        help='which models')
    parser.add_argument(
        '--compile', action='store_true', help='time a compiled teacher too')
    args = parser.parse_args()
    rows = [row for name in args.models for row in compare(name, args)]
    print(
        markdown_table(('model, classes', 'side', 'ms', f'to {STOCK}',
                        'quartiles', 'peak MiB'), rows))
    print(f'\n- Batch {args.batch}, {SIZE} x {SIZE} pixels, medians of '
          f'{args.repeats}')
    if not is_fast_in_half():
        print(f'- {LEFT_OUT}')
    print(describe_machine())


if __name__ == '__main__':
    main()
