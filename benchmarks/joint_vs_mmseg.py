"""Time a training iteration of this package beside MMSegmentation's own."""
import argparse
import copy
import gc
import os
import os.path as osp
import tempfile
from typing import Dict, List, NamedTuple, Optional, Sequence

import numpy as np
from common import (STOCK, describe_machine, in_turns, markdown_table,
                    positive_int)
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner
from mmseg.registry import DATASETS

from mmseg_incremental.engine import build_step_cfg, load_config, train_step
from mmseg_incremental.engine.cli import exit_on_bad_input
from mmseg_incremental.engine.model_config import without_pretrained
from mmseg_incremental.engine.scenario_config import is_incremental
from mmseg_incremental.engine.stock_config import to_stock_model
from mmseg_incremental.errors import IncrementalConfigError

JOINT = 'joint'
JOINT_STOCK = 'joint, stock loss'
MIB = 'MiB, second step'
# The first iterations of a process also fill caches.
WARM_UP = 2


class Block(NamedTuple):
    """What a run of some iterations measured.

    Attributes:
        time (float): Median of the iterations in ms, data loading included.
        data_time (float): Median of the data loading alone in ms.
        losses (np.ndarray): The loss of every iteration, warm-up included.
    """
    time: float
    data_time: float
    losses: np.ndarray


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Time a training iteration of MMSegmentation, of method '
        "joint with small logits and with MMSegmentation's own loss, and of "
        'the second step of MiB')
    parser.add_argument(
        '--config',
        default='configs/incremental/shapes_10-1.py',
        help='config with an iteration-based schedule whose data is an '
        'IncrementalDataset around a stock dataset')
    parser.add_argument(
        '--iters',
        type=positive_int,
        default=10,
        help='timed iterations a block')
    parser.add_argument(
        '--repeats', type=positive_int, default=5, help='blocks of each side')
    parser.add_argument('--data-root', help='another folder of the data')
    return parser.parse_args(argv)


def read_config(path: str, method: str, iters: int,
                data_root: Optional[str]) -> Config:
    """Read an incremental config and shorten its steps.

    Args:
        path (str): The config file.
        method (str): Name of the method.
        iters (int): Number of iterations a step.
        data_root (str, optional): Folder of the data. Defaults to None: the
            config's own.

    Returns:
        Config: Config of the whole run, without worker processes and
        pretrained weights.

    Raises:
        IncrementalConfigError: If its schedule counts epochs.
    """
    cfg = load_config(path, method=method)
    if cfg.train_cfg.get('type') != 'IterBasedTrainLoop':
        raise IncrementalConfigError(
            f'--config {path} has train_cfg.type='
            f'{cfg.train_cfg.get("type")!r}; choose one with '
            'IterBasedTrainLoop, such as configs/incremental/shapes_10-1.py.')
    options = {
        'train_cfg.max_iters': iters,
        'incremental_step.train_cfg.max_iters': iters,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        # Nothing is saved or printed while the clock runs.
        'default_hooks.checkpoint.interval': -1,
        'log_level': 'ERROR',
    }
    if data_root is not None:
        options['data_root'] = data_root
    cfg = load_config(path, method=method, cfg_options=options)
    cfg.model = without_pretrained(cfg.model)
    return cfg


def to_stock(cfg: Config) -> Config:
    """Write a config as MMSegmentation's own ``tools/train.py`` takes it.

    Args:
        cfg (Config): Config of a run on a registered dataset or one in an
            ``IncrementalDataset``.

    Returns:
        Config: All classes at once: a stock segmentor on the wrapped dataset
        with the stock transforms, without evaluation.

    Raises:
        IncrementalConfigError: If the data is of another form.
    """
    train_dataloader = copy.deepcopy(cfg.train_dataloader)
    train_dataloader.dataset = stock_dataset(train_dataloader.dataset)
    kept = ('default_scope', 'env_cfg', 'train_cfg', 'optim_wrapper',
            'param_scheduler', 'default_hooks', 'custom_hooks', 'visualizer',
            'log_processor', 'log_level', 'randomness')
    return Config({
        'model': to_stock_model(build_step_cfg(cfg, 0).model),
        'train_dataloader': train_dataloader,
        **{
            key: copy.deepcopy(cfg[key])
            for key in kept if key in cfg
        }
    })


def stock_dataset(dataset: ConfigDict) -> dict:
    """The dataset that one of this package wraps.

    Args:
        dataset (ConfigDict): Config of the wrapper.

    Returns:
        dict: Config of the stock dataset, with the wrapper's pipeline.

    Raises:
        IncrementalConfigError: If nothing is wrapped.
    """
    if 'dataset' in dataset:
        inner = dataset.dataset
    else:
        inner = dict(dataset)
        inner['type'] = getattr(
            DATASETS.get(dataset.type), 'dataset_type', None)
    if is_incremental(dataset) and inner['type'] is not None:
        return dict(inner, pipeline=dataset.pipeline)
    raise IncrementalConfigError(
        f'train_dataloader.dataset.type={dataset.type!r} has no stock form '
        "here; choose a config with type='IncrementalDataset' and the stock "
        'dataset in its key "dataset".')


def build_sides(args: argparse.Namespace, root: str) -> Dict[str, Config]:
    """Build what is compared.

    Args:
        args (argparse.Namespace): The command line.
        root (str): An empty folder for work dirs.

    Returns:
        dict[str, Config]: Config of an MMEngine run by name of the side.
    """
    iters = WARM_UP + args.iters
    joint = read_config(args.config, 'joint', iters, args.data_root)
    mib = read_config(args.config, 'mib', iters, args.data_root)
    joint.work_dir = osp.join(root, 'joint')
    stock_loss = copy.deepcopy(joint)
    stock_loss.model.fused_losses = False
    mib.work_dir = osp.join(root, 'mib')
    # The second step starts from the first one's checkpoint.
    first = copy.deepcopy(mib)
    first.train_cfg.max_iters = 1
    train_step(first, 0)
    return {
        STOCK: to_stock(joint),
        JOINT: build_step_cfg(joint, 0),
        JOINT_STOCK: build_step_cfg(stock_loss, 0),
        MIB: build_step_cfg(mib, 1)
    }


def run_block(cfg: Config, work_dir: str) -> Block:
    """Run one side for a number of iterations.

    Args:
        cfg (Config): Config of the side, left unchanged.
        work_dir (str): A folder of its own.

    Returns:
        Block: What ``IterTimerHook`` measured.
    """
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = work_dir
    # One name a block: message hubs live as long as the process.
    cfg.experiment_name = osp.basename(work_dir)
    if cfg.get('visualizer'):
        cfg.visualizer.name = cfg.experiment_name
    # A collection of what the last block left must not fall into this one.
    gc.collect()
    runner = Runner.from_cfg(cfg)
    runner.train()
    time, data_time, losses = (
        runner.message_hub.get_scalar(f'train/{key}').data[0]
        for key in ('time', 'data_time', 'loss'))
    return Block(1000 * np.median(time[WARM_UP:]),
                 1000 * np.median(data_time[WARM_UP:]), losses)


def run_blocks(sides: Dict[str, Config], repeats: int,
               root: str) -> Dict[str, List[Block]]:
    """Run the blocks of all sides in turns.

    Args:
        sides (dict[str, Config]): Config by name of the side.
        repeats (int): Number of blocks of each side.
        root (str): A folder for work dirs.

    Returns:
        dict[str, list[Block]]: The blocks by name of the side.
    """
    blocks: Dict[str, List[Block]] = {name: [] for name in sides}
    for turn, name in in_turns(sides, repeats):
        work_dir = osp.join(root, f'block_{turn}_{name}')
        blocks[name].append(run_block(sides[name], work_dir))
    return blocks


def format_table(blocks: Dict[str, List[Block]]) -> str:
    """Compare the sides.

    Args:
        blocks (dict[str, list[Block]]): The blocks by name of the side.

    Returns:
        str: A Markdown table with a row a side.
    """
    stock = np.array([block.time for block in blocks[STOCK]])
    rows = []
    for name, side in blocks.items():
        times = np.array([block.time for block in side])
        data = np.median([block.data_time for block in side])
        rows.append([
            name, f'{np.median(times):.1f}',
            f'{times.min():.1f} to {times.max():.1f}', f'{data:.1f}',
            f'{np.median(times / stock):.3f}'
        ])
    return markdown_table(
        ('side', 'ms an iteration', 'lowest to highest block', 'of it data',
         f'to {STOCK}'), rows)


def compare_losses(blocks: Dict[str, List[Block]]) -> str:
    """Say whether MMSegmentation and method joint did the same work."""
    stock, joint, stock_loss = (
        np.array([block.losses for block in blocks[name]])
        for name in (STOCK, JOINT, JOINT_STOCK))
    gap, rounding = (
        np.abs(stock - losses).max() for losses in (stock_loss, joint))
    same = 'equal' if gap == 0 else f'different by up to {gap:.1e}'
    return (f'Losses of {STOCK} and {JOINT_STOCK}: {same}, in {stock.size} '
            f'iterations each; of {JOINT}: within {rounding:.1e}')


@exit_on_bad_input
def main() -> None:
    """Run the benchmark and print a table for benchmarks/README.md."""
    args = parse_args()
    load = os.getloadavg()[0] if hasattr(os, 'getloadavg') else float('nan')
    with tempfile.TemporaryDirectory() as root:
        sides = build_sides(args, root)
        blocks = run_blocks(sides, args.repeats, root)
    loader = sides[JOINT].train_dataloader
    print(format_table(blocks))
    print(f'\n- {args.config}, batch {loader.batch_size}, medians of '
          f'{args.repeats} blocks of {args.iters} iterations')
    print(f'- {compare_losses(blocks)}')
    print(describe_machine())
    print(f'- Load of the machine before the start: {load:.1f}')


if __name__ == '__main__':
    main()
