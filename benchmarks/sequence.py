"""Where the time of a sequence of steps goes, beside plain iterations."""
import argparse
import copy
import itertools
import os.path as osp
import sys
import tempfile
from contextlib import redirect_stdout
from typing import Any, Iterator, List, Tuple
from unittest.mock import patch

from common import (STOCK, build_parser, describe_machine, in_turns,
                    markdown_table, positive_int)
from joint_vs_mmseg import stock_dataset, to_stock
from mmengine.config import Config
from mmengine.runner import Runner
from sequence_table import Phases, median, summarize

from mmseg_incremental.engine import build_step_cfg, load_config, run_steps
from mmseg_incremental.engine import steps as all_steps
from mmseg_incremental.engine import train_step
from mmseg_incremental.engine.cli import exit_on_bad_input
from mmseg_incremental.engine.model_config import without_pretrained
from mmseg_incremental.engine.profile import Profile
from mmseg_incremental.engine.step_runner import release_workers

# Phases in which workers start, and what the first use of a library takes.
ONCE = ('building', 'first iteration', 'evaluation: building',
        'evaluation: first batch')
# What a Runner for an evaluation does without.
TRAINING_PARTS = ('train_cfg', 'train_dataloader', 'optim_wrapper',
                  'param_scheduler')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = build_parser(__doc__, 'number of later steps')
    parser.add_argument(
        '--config', default='configs/incremental/voc_10-1_cpu.py')
    parser.add_argument('--data-root', help='another folder of the data')
    parser.add_argument('--method', default='mib')
    parser.add_argument(
        '--iters',
        type=positive_int,
        default=4,
        help='iterations a step, 2 or more')
    parser.add_argument(
        '--images',
        type=positive_int,
        default=20,
        help='images of an evaluation')
    args = parser.parse_args()
    if args.iters < 2:
        parser.error('--iters 1 leaves no iteration beside the first one of a '
                     'step; 2 is the least')
    return args


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
    """The same iterations and images in MMSegmentation alone, on all classes.

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
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        if not loader.get('num_workers'):
            # torch refuses persistent workers where there are none.
            loader.persistent_workers = False
    stock = to_stock(cfg)
    stock.test_dataloader = copy.deepcopy(cfg.test_dataloader)
    stock.test_dataloader.dataset = stock_dataset(cfg.test_dataloader.dataset)
    stock.test_cfg = dict(type='TestLoop')
    # What a step has, and what is evaluated.
    stock.default_hooks.checkpoint = dict(
        type='CheckpointHook', by_epoch=False, interval=args.iters)
    stock.test_evaluator = dict(type='IoUMetric')
    return stock


def run_stock(cfg: Config, work_dir: str) -> Phases:
    """Train and test MMSegmentation's model, and divide the time likewise.

    Args:
        cfg (Config): What :func:`stock_config` returned, left unchanged.
        work_dir (str): A folder of its own.

    Returns:
        dict[str, float]: Seconds of every phase.
    """
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = work_dir
    cfg.custom_hooks = [
        *(cfg.get('custom_hooks') or []),
        dict(type='ProfileHook', name=work_dir)
    ]
    test_cfg = copy.deepcopy(cfg)
    for key in TRAINING_PARTS:
        test_cfg.pop(key)
    test_cfg.load_from = osp.join(work_dir, f'iter_{cfg.train_cfg.max_iters}'
                                  '.pth')
    profile = Profile.get_instance(work_dir)
    profile.start()
    for mode, part in (('train', cfg), ('test', test_cfg)):
        # MMEngine keeps what it makes by these names.
        part.experiment_name = f'{work_dir}_{mode}'.replace(osp.sep, '_')
        part.visualizer.name = part.experiment_name
        runner = Runner.from_cfg(part)
        getattr(runner, mode)()
        release_workers(runner)
        profile.stop('release' if mode == 'train' else 'evaluation: release')
    return profile.seconds


def run_blocks(turns: Iterator[Tuple[int, str]], stock: Config,
               root: str) -> List[Phases]:
    """Run the blocks of MMSegmentation that come before the next step."""
    own = itertools.takewhile(lambda turn: turn[1] == STOCK, turns)
    with redirect_stdout(sys.stderr):
        return [run_stock(stock, osp.join(root, f'plain_{n}')) for n, _ in own]


def run_sequence(args: argparse.Namespace,
                 root: str) -> Tuple[List[Phases], List[Phases], Phases]:
    """Run the steps of one run and blocks of plain MMSegmentation in turns.

    Args:
        args (argparse.Namespace): The command line.
        root (str): A folder for work dirs.

    Returns:
        tuple[list[dict], list[dict], dict]: Phases of every later step, of
        the block of MMSegmentation beside it, and those that the run has
        once, with what the first step takes beyond the others.
    """
    cfg = read_config(args, args.method, osp.join(root, 'steps'))
    stock = stock_config(args, root)
    profile = Profile.get_instance(cfg.work_dir)
    turns = in_turns((args.method, STOCK), args.repeats)
    parts, plain = [], []

    def train_next(cfg: Config, step: int, *args: Any) -> None:
        """Train a step, the clock of the run at zero."""
        parts.append(profile.seconds)
        if step > 0:
            plain.extend(run_blocks(turns, stock, root))
        profile.start()
        train_step(cfg, step, *args)

    with patch.object(all_steps, 'train_step', train_next), \
            redirect_stdout(sys.stderr):
        run_steps(cfg, steps=range(args.repeats + 1))
    parts.append(profile.seconds)
    plain.extend(run_blocks(turns, stock, root))
    checks, base, *steps = parts
    once = dict(checks, report=steps[-1].pop('report'))
    for name in ONCE:
        once[name] = max(base[name] - median(steps, name), 0.0)
    return steps, plain, once


@exit_on_bad_input
def main() -> None:
    """Run the benchmark and print tables for benchmarks/README.md."""
    args = parse_args()
    with tempfile.TemporaryDirectory() as root:
        steps, plain, once = run_sequence(args, root)
    print(
        markdown_table(('work', 'side', 'time', 'to the first side'),
                       summarize(args, steps, plain, sum(once.values()))))
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
