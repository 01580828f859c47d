"""What the phases of steps and of plain iterations come to."""
import argparse
from typing import Dict, List, Optional

import numpy as np
from common import STOCK
from mmengine.config import Config

from mmseg_incremental.datasets.read_once import read_once
from mmseg_incremental.engine import (build_scenario, build_step_cfg,
                                      load_config)
from mmseg_incremental.engine.run_check import count_step_images

# What a run does once, whatever the number of its steps.
ONCE = ('checks', 'report')
TRAINING = ('iterations', 'waiting for data')
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
              plain: List[Phases]) -> List[List[str]]:
    """Put the phases together.

    Args:
        args (argparse.Namespace): The command line.
        steps (list[dict]): Phases of every step.
        plain (list[dict]): Those of MMSegmentation.

    Returns:
        list[list[str]]: Rows of the table: work, time, ratio.
    """
    iteration = 1000 * median(steps, *TRAINING) / args.iters
    stock = 1000 * median(plain, *TRAINING) / args.iters
    image = 1000 * median(steps, *IMAGES) / args.images
    forward = 1000 * median(steps, FORWARD) / args.images
    stock_image = 1000 * median(steps, *STOCK_IMAGES) / args.images
    rest, stock_rest = (
        median(
            each,
            *(name for name in each[0]
              if name not in {*TRAINING, *ONCE, *IMAGES}))
        for each in (steps, plain))
    once = median(steps, *ONCE)
    return [
        ['iteration', STOCK, f'{stock:.0f} ms', '1.00'],
        [
            'iteration', args.method, f'{iteration:.0f} ms',
            f'{iteration / stock:.2f}'
        ],
        ['evaluation of an image', 'forward', f'{forward:.1f} ms', '1.00'],
        [
            'evaluation of an image', 'all', f'{image:.1f} ms',
            f'{image / forward:.2f}'
        ],
        [
            'evaluation of an image', 'inputs and waiting alone',
            f'{stock_image:.1f} ms', f'{stock_image / forward:.2f}'
        ],
        ['rest of a step', STOCK, f'{stock_rest:.2f} s', '1.00'],
        [
            'rest of a step', args.method, f'{rest:.2f} s',
            f'{rest / stock_rest:.2f}'
        ],
        ['once a run', args.method, f'{once:.2f} s', ''],
        *whole_run(args, iteration / 1000, stock / 1000, rest, once,
                   image / 1000),
    ]


def whole_run(args: argparse.Namespace, iteration: float, stock: float,
              rest: float, once: float, image: float) -> List[List[str]]:
    """The later steps of the config at its own length, calculated.

    Args:
        args (argparse.Namespace): The command line.
        iteration (float): Seconds of an iteration.
        stock (float): Seconds of a plain iteration.
        rest (float): Seconds of a step beside iterations and images.
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
    return [[what, STOCK, f'{theirs:.0f} s', '1.00'],
            [what, args.method, f'{ours:.0f} s', f'{ours / theirs:.2f}'],
            [
                what, f'{args.method}, {images:,} images evaluated',
                f'{seen:.0f} s', f'{seen / theirs:.2f}'
            ]]


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
