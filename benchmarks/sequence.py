"""Where the time of a sequence of steps goes, beside plain iterations."""
import argparse
import copy
import json
import os
import os.path as osp
import sys
import tempfile
from contextlib import redirect_stdout
from typing import Dict, List, Optional, Tuple

import numpy as np
from common import (build_parser, describe_machine, in_turns, markdown_table,
                    positive_int)
from joint_vs_mmseg import STOCK, to_stock
from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_incremental.datasets.read_once import read_once
from mmseg_incremental.engine import (build_scenario, build_step_cfg,
                                      load_config, run_steps)
from mmseg_incremental.engine.cli import exit_on_bad_input
from mmseg_incremental.engine.model_config import without_pretrained
from mmseg_incremental.engine.profile import PROFILE_FILE, Profile
from mmseg_incremental.engine.run_check import count_step_images
from mmseg_incremental.engine.step_runner import release_workers

# What a run does once, whatever the number of its steps.
ONCE = ('report', )
TRAINING = ('iterations', 'waiting for data')
FORWARD = 'evaluation: forward'
# Of MMSegmentation and the machine; the rest is counting.
STOCK_IMAGES = (FORWARD, 'evaluation: inputs', 'evaluation: waiting for data')
IMAGES = (*STOCK_IMAGES, 'evaluation: metric')
Phases = Dict[str, float]


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser(__doc__, 'number of later steps')
    parser.add_argument(
        '--config', default='configs/incremental/voc_10-1_cpu.py')
    parser.add_argument('--data-root', help='another folder of the data')
    parser.add_argument('--method', default='mib')
    parser.add_argument(
        '--iters', type=positive_int, default=20, help='iterations a step')
    parser.add_argument(
        '--images',
        type=positive_int,
        default=100,
        help='images of an evaluation')
    return parser.parse_args()


def read_config(args: argparse.Namespace, method: str,
                work_dir: str) -> Config:
    """Read a config with short steps that start from random weights.

    Args:
        args (argparse.Namespace): The command line.
        method (str): Name of the method.
        work_dir (str): Folder of the run.

    Returns:
        Config: Config of the whole run.
    """
    options = {
        'train_cfg.max_iters': 1,
        'incremental_step.train_cfg.max_iters': args.iters,
        'log_level': 'ERROR',
        'profile': True
    }
    if args.data_root is not None:
        options['data_root'] = args.data_root
    cfg = load_config(
        args.config, method=method, cfg_options=options, work_dir=work_dir)
    cfg.test_dataloader.dataset.indices = args.images
    cfg.model = without_pretrained(cfg.model)
    return cfg


def stock_config(args: argparse.Namespace, root: str) -> Config:
    """The same iterations in MMSegmentation alone, on all classes.

    Optimizer and statistics of BatchNorm are those of a later step.
    """
    cfg = read_config(args, 'joint', osp.join(root, 'joint'))
    cfg.train_cfg.max_iters = args.iters
    later = build_step_cfg(read_config(args, args.method, root), 1)
    cfg.optim_wrapper = later.optim_wrapper
    cfg.param_scheduler = later.param_scheduler
    if later.model.get('norm_eval'):
        # What a stock backbone knows of it, those of the head are trained.
        cfg.model.backbone.norm_eval = True
    if not cfg.train_dataloader.get('num_workers'):
        # torch refuses persistent workers where there are none.
        cfg.train_dataloader.persistent_workers = False
    return to_stock(cfg)


def run_step(cfg: Config, step: int) -> Phases:
    """Run one step and read its profile.

    Args:
        cfg (Config): Config of the run.
        step (int): The step.

    Returns:
        dict[str, float]: Seconds of every phase.
    """
    path = osp.join(cfg.work_dir, PROFILE_FILE)
    if osp.isfile(path):
        # The figures of a run add up over its steps.
        os.remove(path)
    with redirect_stdout(sys.stderr):
        run_steps(copy.deepcopy(cfg), steps=[step])
    with open(path, encoding='utf-8') as file:
        phases = json.load(file)['phases']
    return {name: phase['seconds'] for name, phase in phases.items()}


def run_stock(cfg: Config, work_dir: str) -> Phases:
    """Train MMSegmentation's model and divide its time in the same way.

    Args:
        cfg (Config): What :func:`stock_config` returned, left unchanged.
        work_dir (str): A folder of its own.

    Returns:
        dict[str, float]: Seconds of every phase.
    """
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = work_dir
    # MMEngine keeps what it makes by these names.
    cfg.experiment_name = work_dir.replace(osp.sep, '_')
    cfg.visualizer.name = cfg.experiment_name
    cfg.custom_hooks = [
        *(cfg.get('custom_hooks') or []),
        dict(type='ProfileHook', name=work_dir)
    ]
    profile = Profile.get_instance(work_dir)
    profile.start()
    runner = Runner.from_cfg(cfg)
    runner.train()
    release_workers(runner)
    return profile.seconds


def run_sequence(args: argparse.Namespace,
                 root: str) -> Tuple[List[Phases], List[Phases]]:
    """Run steps and blocks of plain MMSegmentation in turns.

    Args:
        args (argparse.Namespace): The command line.
        root (str): A folder for work dirs.

    Returns:
        tuple[list[dict], list[dict]]: Phases of every later step, and of the
        block of MMSegmentation beside it.
    """
    cfg = read_config(args, args.method, osp.join(root, 'steps'))
    stock = stock_config(args, root)
    run_step(cfg, 0)
    steps, plain = [], []
    for turn, side in in_turns((args.method, STOCK), args.repeats):
        if side == STOCK:
            plain.append(run_stock(stock, osp.join(root, f'plain_{turn}')))
        else:
            steps.append(run_step(cfg, turn + 1))
    return steps, plain


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
    kept = {*TRAINING, *ONCE, *IMAGES}
    rest = median(steps, *(name for name in steps[0] if name not in kept))
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
        ['rest of a step', args.method, f'{rest:.2f} s', ''],
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


@exit_on_bad_input
def main() -> None:
    """Run the benchmark and print tables for benchmarks/README.md."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as root:
        steps, plain = run_sequence(args, root)
    print(
        markdown_table(('work', 'side', 'time', 'to the first side'),
                       summarize(args, steps, plain)))
    print()
    print(
        markdown_table(
            ('phase', 's a step'),
            [[name, f'{median(steps, name):.3f}'] for name in steps[0]]))
    print(f'\n- {args.config}, {args.iters} iterations a step, '
          f'{args.images} images an evaluation, medians of {len(steps)} '
          'steps')
    print(describe_machine())


if __name__ == '__main__':
    main()
