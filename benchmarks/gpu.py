"""Losses and iterations of the published recipe's size on a GPU."""
import copy
from typing import Callable, Dict, List, Tuple
from unittest.mock import patch

import loss_sides
import losses
import numpy as np
import torch
import training
from common import (HALF, STOCK, alternate, build_parser, describe_machine,
                    markdown_table)
from mmengine.device import is_cuda_available
from mmengine.registry import init_default_scope
from torch import Tensor

from mmseg_incremental.engine import load_config
from mmseg_incremental.models.losses import fused
from mmseg_incremental.models.losses.fused import build_objective, fused_losses

BATCH, SIZE, STRIDE = 24, 512, 16
CLASSES = ((21, 16), (151, 101))
CONFIG = 'configs/incremental/voc_15-5.py'
ITERATIONS = {
    'MiB': training.Side(),
    f'MiB, {HALF}': training.Side(dtype=torch.bfloat16),
    'MiB, readable losses': training.Side(fused=False)
}


def bands(logits: Tensor, labels: Tensor, teacher_logits: Tensor) -> Tensor:
    """The fused losses where Triton is not installed."""
    with patch.object(fused.losses, 'has_kernels', lambda *args: False):
        return loss_sides.fused(logits, labels, teacher_logits)


def plain(logits: Tensor, labels: Tensor, teacher_logits: Tensor) -> Tensor:
    """Cross entropy from small logits, without a teacher."""
    objective = build_objective(False, False)
    return fused_losses(logits, labels, objective, 1).cross_entropy


SIDES = {
    **loss_sides.SIDES, 'fused losses, bands': bands,
    'fused cross entropy alone': plain
}


def bandwidth() -> float:
    """Bytes that a large copy reads and writes in a millisecond."""
    source = torch.randn(2**28, device='cuda')
    target = torch.empty_like(source)
    times = alternate({'copy': lambda: target.copy_(source)}, 7)['copy']
    return 2 * source.nbytes / np.median(times)


def floor(case: losses.Case) -> int:
    """Bytes that the losses have to read and write, gradient included."""
    low = case.batch * (case.size // case.stride)**2
    labels = 8 * case.batch * case.size**2
    return labels + 4 * low * (2 * case.num_classes + case.num_old)


def peak(function: Callable[[], object]) -> float:
    """GiB that a function takes beyond what is there."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**30


def compare_losses(case: losses.Case, repeats: int,
                   rate: float) -> List[List[str]]:
    """Measure all sides of the losses.

    Args:
        case (losses.Case): Sizes.
        repeats (int): Timed calls of each side.
        rate (float): Bytes a millisecond.

    Returns:
        list[list[str]]: Rows of the table.
    """
    sides = {name: losses.build(name, case, SIDES) for name in SIDES}
    losses.check_equal([
        run() for name, run in sides.items()
        if name not in (loss_sides.STOCK, 'fused cross entropy alone')
    ])
    peaks = {name: peak(run) for name, run in sides.items()}
    times = alternate(sides, repeats)
    least = floor(case) / rate
    return [[
        f'{case.num_classes} ({case.num_old} old)', name,
        f'{np.median(times[name]):.2f}',
        f'{np.median(times[name] / times[loss_sides.STOCK]):.2f}',
        f'{np.median(times[name]) / least:.0f}', f'{peaks[name]:.2f}'
    ] for name in sides]


def build_iterations(
        num_classes: int, num_old: int
) -> Tuple[Dict[str, Callable[[], None]], Dict[str, float]]:
    """Iterations of all sides, and the GiB that their weights take."""
    cfg = load_config(CONFIG).model
    batch = training.draw_batch(BATCH, num_classes, SIZE)
    sides, sizes = {}, {}
    for name, side in {STOCK: None, **ITERATIONS}.items():
        before = torch.cuda.memory_allocated()
        if side is None:
            model = training.build_model(
                copy.deepcopy(cfg),
                num_classes,
                dict(type='CrossEntropyLoss'),
                type='EncoderDecoder')
        else:
            model = training.build_student(cfg, num_classes, num_old, side)
        sides[name] = training.iteration(model, batch, torch.bfloat16)
        # The first iteration makes the state of the optimizer.
        sides[name]()
        sizes[name] = (torch.cuda.memory_allocated() - before) / 2**30
    return sides, sizes


def compare_iterations(num_classes: int, num_old: int,
                       repeats: int) -> List[List[str]]:
    """Measure an iteration of all sides.

    Args:
        num_classes (int): Classes of the student.
        num_old (int): Classes of the teacher.
        repeats (int): Timed iterations of each side.

    Returns:
        list[list[str]]: Rows of the table.
    """
    sides, sizes = build_iterations(num_classes, num_old)
    peaks = {name: sizes[name] + peak(run) for name, run in sides.items()}
    times = alternate(sides, repeats)
    return [[
        f'{num_classes} ({num_old} old)', name, f'{np.median(values):.0f}',
        f'{np.median(values / times[STOCK]):.2f}',
        f'{1000 * BATCH / np.median(values):.0f}', f'{peaks[name]:.1f}'
    ] for name, values in times.items()]


def main() -> None:
    """Run the benchmark and print tables for benchmarks/README.md."""
    parser = build_parser(__doc__)
    args = parser.parse_args()
    if not is_cuda_available():
        parser.error('no GPU is available to PyTorch; run it where '
                     'torch.cuda.is_available() is true.')
    init_default_scope('mmseg')
    torch.backends.cudnn.benchmark = True
    rate = bandwidth()
    rows = [
        row for classes in CLASSES for row in compare_losses(
            losses.Case(*classes, STRIDE, BATCH, SIZE), args.repeats, rate)
    ]
    print(
        markdown_table(('classes', 'losses', 'ms', f'to {loss_sides.STOCK}',
                        'to the floor', 'peak GiB'), rows))
    rows = [
        row for classes in CLASSES
        for row in compare_iterations(*classes, args.repeats)
    ]
    print()
    print(
        markdown_table(('classes', 'iteration', 'ms', f'to {STOCK}',
                        'images/s', 'peak GiB'), rows))
    print(f'\n- {CONFIG}, batch {BATCH}, {SIZE} x {SIZE} pixels, logits at '
          f'1/{STRIDE}, bfloat16, medians of {args.repeats}')
    print(f'- A large copy moves {rate / 1e9:.2f} TB/s')
    print(describe_machine())


if __name__ == '__main__':
    main()
