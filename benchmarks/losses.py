"""Time and memory of cross entropy with distillation, in both directions."""
from functools import partial
from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from common import (alternate, build_parser, describe_machine, markdown_table,
                    peak_memories, ratio_cells)
from loss_sides import ALL, EQUAL, OTHERS, REFERENCES, SIDES, STOCK
from mmengine.device import get_device
from torch import Tensor


class Case(NamedTuple):
    """Sizes of a batch.

    Attributes:
        num_classes (int): Classes of the student.
        num_old (int): Classes of the teacher.
        stride (int): Pixels of the labels a pixel of the logits.
        batch (int): Images.
        size (int): Height and width of the labels.
    """

    num_classes: int
    num_old: int
    stride: int
    batch: int = 4
    size: int = 256

    @property
    def is_large(self) -> bool:
        """bool: Whether a side takes longer than everything around it."""
        return self.num_classes > 100


# What takes tens of milliseconds varies most, and is measured more often.
FEW = 3
CASES = [
    Case(151, 101, 8),
    Case(21, 16, 8),
    Case(151, 101, 1),
    Case(21, 16, 1)
]


def build(
    name: str,
    case: Case,
    sides: Dict[str, Callable[..., Tensor]] = ALL
) -> Callable[[], Tuple[Tensor, Tensor]]:
    """Draw a batch.

    Args:
        name (str): Name of the side.
        case (Case): Sizes.
        sides (dict[str, Callable]): The losses by name. Defaults to ALL.

    Returns:
        Callable: Computes the loss and the gradient of the logits.
    """
    generator = torch.Generator().manual_seed(0)
    low = case.size // case.stride
    draw = partial(torch.randn, generator=generator)
    logits = 3 * draw(case.batch, case.num_classes, low, low)
    teacher_logits = 3 * draw(case.batch, case.num_old, low, low)
    # Regions of one class, as photos have them.
    labels = torch.randint(
        case.num_classes, (case.batch, 1, case.size // 8, case.size // 8),
        generator=generator)
    labels = F.interpolate(labels.float(), case.size).long().squeeze(1)
    logits, teacher_logits, labels = (
        tensor.to(get_device()) for tensor in (logits, teacher_logits, labels))
    logits.requires_grad_()

    def run() -> Tuple[Tensor, Tensor]:
        loss = sides[name](logits, labels, teacher_logits)
        return loss.detach(), torch.autograd.grad(loss, logits)[0]

    return run


def compare(case: Case, repeats: int) -> List[List[str]]:
    """Measure all sides.

    Args:
        case (Case): Sizes.
        repeats (int): Timed calls of each side.

    Returns:
        list[list[str]]: Rows of the table.
    """
    names = [*SIDES, *(OTHERS if case.stride > 1 else REFERENCES)]
    sides = {name: build(name, case) for name in names}
    times = alternate(sides, repeats, check_sides)
    small = case._replace(batch=1, size=32)
    peaks = dict(
        zip(
            names,
            peak_memories(build,
                          [((name, small), (name, case)) for name in names])))
    return [[
        f'{case.num_classes} ({case.num_old} old), 1/{case.stride}', name,
        f'{np.median(times[name]):.1f}',
        *ratio_cells(times[name], times[STOCK]), f'{peaks[name]:.0f}',
        f'{peaks[name] / peaks[STOCK]:.2f}'
    ] for name in names]


def check_sides(results: Dict[str, Tuple[Tensor, Tensor]]) -> None:
    """See that all sides that compute the same do so."""
    for equal in EQUAL:
        check_equal([results[name] for name in equal if name in results])


def check_equal(results: Sequence[Tuple[Tensor, Tensor]]) -> None:
    """See that sides compute the same loss and gradient."""
    for other in results[1:]:
        torch.testing.assert_close(results[0], other, rtol=1e-4, atol=1e-6)


def main() -> None:
    """Run the benchmark and print a table for benchmarks/README.md."""
    parser = build_parser(__doc__)
    args = parser.parse_args()
    rows = [
        row for case in CASES
        for row in compare(case, args.repeats * (1 if case.is_large else FEW))
    ]
    header = ('classes, logits', 'side', 'ms', f'time to {STOCK}', 'quartiles',
              'peak MiB', f'memory to {STOCK}')
    print(markdown_table(header, rows))
    print(f'\n- Batch {CASES[0].batch}, labels of {CASES[0].size} x '
          f'{CASES[0].size}, medians of {args.repeats}, with few classes of '
          f'{FEW * args.repeats}')
    print(describe_machine())


if __name__ == '__main__':
    main()
