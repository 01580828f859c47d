"""What the phases of steps and of plain iterations come to."""
import argparse
from typing import Dict, List, Optional

import numpy as np
from common import STOCK
from mmengine.config import Config

from mmseg_incremental.datasets.read_once import read_once
from mmseg_incremental.engine import (build_scenario, build_step_cfg,
                                      load_config)
from mmseg_incremental.engine.data_check import count_step_images

TRAINING = ('iterations', 'waiting for data')
FIRST = 'first iteration'
FORWARD = 'evaluation: forward'
# Of MMSegmentation and the machine; the rest is counting.
STOCK_IMAGES = (FORWARD, 'evaluation: inputs', 'evaluation: waiting for data')
IMAGES = (*STOCK_IMAGES, 'evaluation: metric')
Phases = Dict[str, float]


def median(steps: List[Phases], *names: str) -> float:
    """Median over the steps of the seconds of some phases together."""
    return float(
        np.median([sum(step.get(name, 0) for name in names)
                   for step in steps]))


def summarize(args: argparse.Namespace, steps: List[Phases],
              plain: List[Phases], once: float) -> List[List[str]]:
    """Put the phases together.

    Args:
        args (argparse.Namespace): The command line.
        steps (list[dict]): Phases of every step.
        plain (list[dict]): Those of MMSegmentation.
        once (float): Seconds that a run takes once.

    Returns:
        list[list[str]]: Rows of the table: work, time, ratio.
    """
    iteration, stock = (
        median(each, *TRAINING) / (args.iters - 1) for each in (steps, plain))
    first, stock_first = (median(each, FIRST) - usual
                          for each, usual in ((steps, iteration), (plain,
                                                                   stock)))
    image, forward, stock_image = (1000 * median(steps, *phases) / args.images
                                   for phases in (IMAGES, (FORWARD, ),
                                                  STOCK_IMAGES))
    rest, stock_rest = (
        median(
            each,
            *(name for name in each[0]
              if name not in {*TRAINING, FIRST, *IMAGES}))
        for each in (steps, plain))
    what = 'evaluation of an image'
    return [
        *compared('iteration', args.method, 1000 * iteration, 1000 * stock,
                  '{:.0f} ms'),
        *compared('first iteration, beyond the others', args.method, first,
                  stock_first, '{:.2f} s'),
        [what, 'forward', f'{forward:.1f} ms', '1.00'],
        [what, 'all', f'{image:.1f} ms', f'{image / forward:.2f}'],
        [
            what, 'inputs and waiting alone', f'{stock_image:.1f} ms',
            f'{stock_image / forward:.2f}'
        ],
        *compared('rest of a step', args.method, rest, stock_rest, '{:.2f} s'),
        ['once a run', args.method, f'{once:.2f} s', ''],
        *whole_run(args, iteration, stock, rest + first, once, image / 1000),
    ]


def compared(work: str, side: str, ours: float, theirs: float,
             unit: str) -> List[List[str]]:
    """Rows of what both sides do.

    Args:
        work (str): What they do.
        side (str): Name of this side.
        ours (float): Its time.
        theirs (float): That of MMSegmentation.
        unit (str): How to write a time.

    Returns:
        list[list[str]]: Rows of the table.
    """
    return [[work, STOCK, unit.format(theirs), '1.00'],
            [
                work, side,
                unit.format(ours),
                f'{ours / theirs:.2f}' if theirs > 0 else '-'
            ]]


def whole_run(args: argparse.Namespace, iteration: float, stock: float,
              rest: float, once: float, image: float) -> List[List[str]]:
    """The later steps of the config at its own length, calculated.

    Args:
        args (argparse.Namespace): The command line.
        iteration (float): Seconds of an iteration.
        stock (float): Seconds of a plain iteration.
        rest (float): Seconds of a step beside iterations and images, that
            of its first iteration beyond the others included.
        once (float): Seconds that a run takes once.
        image (float): Seconds of an image of an evaluation.

    Returns:
        list[list[str]]: Rows of the table.
    """
    cfg = load_config(args.config, method=args.method)
    count = len(build_scenario(cfg)) - 1
    iters = later_iterations(cfg)
    if iters is None:
        return []
    ours = count * (iters * iteration + rest) + once
    theirs = count * iters * stock
    images = count_evaluated(args)
    seen = ours + images * image
    what = f'{count} steps of {iters} iterations'
    return [
        *compared(what, args.method, ours, theirs, '{:.0f} s'),
        [
            what, f'{args.method}, {images:,} images evaluated',
            f'{seen:.0f} s', f'{seen / theirs:.2f}'
        ]
    ]


def count_evaluated(args: argparse.Namespace) -> int:
    """Number of images in the evaluations of all later steps."""
    options = {} if args.data_root is None else dict(data_root=args.data_root)
    cfg = load_config(args.config, method=args.method, cfg_options=options)
    with read_once():
        return sum(
            count_step_images(build_step_cfg(cfg, step))[1]
            for step in range(1, len(build_scenario(cfg))))


def later_iterations(cfg: Config) -> Optional[int]:
    """Iterations of a later step, None where the schedule has epochs."""
    later = cfg.get('incremental_step', {}).get('train_cfg', {})
    return later.get('max_iters', cfg.train_cfg.get('max_iters'))
