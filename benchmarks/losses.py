"""Time and memory of cross entropy with distillation, in both directions."""
from functools import partial
from typing import Callable, Dict, List, NamedTuple, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from common import (alternate, build_parser, describe_machine, markdown_table,
                    peak_memories, ratio_cells)
from mmengine.device import get_device
from torch import Tensor

from mmseg_incremental.models.losses import (fused_unbiased_loss,
                                             unbiased_cross_entropy,
                                             unbiased_distillation)

STOCK = 'cross entropy alone'
FLOOR = 'cross entropy, softmax of the teacher'
WEIGHT = 10.0


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


CASES = [
    Case(151, 101, 8),
    Case(21, 16, 8),
    Case(151, 101, 1),
    Case(21, 16, 1)
]


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


def floor(logits: Tensor, labels: Tensor, teacher_logits: Tensor) -> Tensor:
    """What losses with a teacher have to do, by PyTorch's operators."""
    upsample(teacher_logits, labels).softmax(dim=1)
    return stock(logits, labels, teacher_logits)


def fused(logits: Tensor, labels: Tensor, teacher_logits: Tensor) -> Tensor:
    """The losses of this package by default."""
    return sum(fused_unbiased_loss(logits, labels, teacher_logits, WEIGHT))


SIDES = {
    STOCK: stock,
    'published approach': published,
    'readable losses': readable,
    'fused losses': fused,
    FLOOR: floor
}


def build(
    name: str,
    case: Case,
    sides: Dict[str, Callable[..., Tensor]] = SIDES
) -> Callable[[], Tuple[Tensor, Tensor]]:
    """Draw a batch.

    Args:
        name (str): Name of the side.
        case (Case): Sizes.
        sides (dict[str, Callable]): The losses by name. Defaults to SIDES.

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
    sides = {name: build(name, case) for name in SIDES}
    check_equal({
        name: run()
        for name, run in sides.items() if name not in (STOCK, FLOOR)
    })
    times = alternate(sides, repeats)
    small = case._replace(batch=1, size=32)
    peaks = dict(
        zip(
            SIDES,
            peak_memories(build,
                          [((name, small), (name, case)) for name in SIDES])))
    return [[
        f'{case.num_classes} ({case.num_old} old), 1/{case.stride}', name,
        f'{np.median(times[name]):.1f}',
        *ratio_cells(times[name], times[STOCK]), f'{peaks[name]:.0f}',
        f'{peaks[name] / peaks[STOCK]:.2f}'
    ] for name in SIDES]


def check_equal(results: Dict[str, Tuple[Tensor, Tensor]]) -> None:
    """See that all sides but the first one compute the same."""
    first, *others = results.values()
    for other in others:
        torch.testing.assert_close(first, other, rtol=1e-4, atol=1e-6)


def main() -> None:
    """Run the benchmark and print a table for benchmarks/README.md."""
    parser = build_parser(__doc__)
    args = parser.parse_args()
    rows = [row for case in CASES for row in compare(case, args.repeats)]
    header = ('classes, logits', 'side', 'ms', f'time to {STOCK}', 'quartiles',
              'peak MiB', f'memory to {STOCK}')
    print(markdown_table(header, rows))
    print(f'\n- Batch {CASES[0].batch}, labels of {CASES[0].size} x '
          f'{CASES[0].size}, medians of {args.repeats}')
    print(describe_machine())


if __name__ == '__main__':
    main()
