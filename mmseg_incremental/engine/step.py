"""One step, trained and evaluated in a Runner each."""
import os.path as osp
from typing import Any, Optional

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.runner.checkpoint import find_latest_checkpoint
from mmseg.registry import DATASETS

from mmseg_incremental.errors import IncrementalConfigError
from .formatted_once import FormattedOnce
from .kept_loaders import KeptLoaders
from .memory import freed
from .panel import prepare_panel
from .run_results import drop_evaluation
from .step_config import build_step_cfg, build_test_cfg
from .step_runner import StepRunner, release_workers


def train_step(cfg: Config,
               step: int,
               resume: bool = False,
               loaders: Optional[KeptLoaders] = None) -> None:
    """Train one step to its ``final.pth``.

    Args:
        cfg (Config): Config of the run.
        step (int): The step, counted from 0.
        resume (bool): Whether to continue at the latest checkpoint of the
            step, if there is one. Defaults to False.
        loaders (KeptLoaders, optional): Loaders of the run. Defaults to
            None: the step has its own.
    """
    step_cfg = build_step_cfg(cfg, step)
    _keep_small_batch(step_cfg, loaders)
    latest = latest_checkpoint(step_cfg.work_dir) if resume else None
    if latest is not None:
        step_cfg.resume, step_cfg.load_from = True, latest
    drop_evaluation(step_cfg.work_dir)
    _run(step_cfg, 'train', loaders)


def _keep_small_batch(step_cfg: Config,
                      loaders: Optional[KeptLoaders] = None) -> None:
    """Do not drop the only batch of a step with few images."""
    loader = step_cfg.train_dataloader
    if loader.get('drop_last'):
        dataset = loaders and loaders.dataset(loader.dataset)
        if dataset is None:
            dataset = DATASETS.build(loader.dataset)
        images = len(dataset)
        if images < loader.batch_size * get_world_size():
            print_log(
                f'{images} images are less than a batch of '
                f'{loader.batch_size} on each device: drop_last is off',
                logger='current')
            loader.drop_last = False


def evaluate_step(cfg: Config,
                  step: int,
                  checkpoint: Optional[str] = None,
                  loaders: Optional[KeptLoaders] = None) -> dict:
    """Evaluate one step over all classes seen so far.

    Args:
        cfg (Config): Config of the run.
        step (int): The step, counted from 0.
        checkpoint (str, optional): Defaults to None: the step's own.
        loaders (KeptLoaders, optional): Loaders of the run. Defaults to
            None: the evaluation has its own.

    Returns:
        dict: Percentages of :class:`IncrementalIoUMetric`.
    """
    test_cfg = build_test_cfg(cfg, step, checkpoint)
    # The panel belongs to the run, another checkpoint does not.
    hook = prepare_panel(cfg, step) if checkpoint is None else None
    if hook is not None:
        test_cfg.custom_hooks = [*(test_cfg.custom_hooks or []), hook]
    return _run(test_cfg, 'test', loaders)


def _run(cfg: Config, mode: str, loaders: Optional[KeptLoaders] = None) -> Any:
    """Train or test in a Runner of its own and free all that it held."""
    with freed():
        return _run_in_runner(cfg, mode, loaders)


def _run_in_runner(cfg: Config, mode: str,
                   loaders: Optional[KeptLoaders]) -> Any:
    runner = StepRunner.from_cfg(FormattedOnce.from_config(cfg))
    runner.loaders = loaders
    benchmark = torch.backends.cudnn.benchmark
    if mode == 'test':
        # Images have many sizes, and cuDNN would time its algorithms for each.
        torch.backends.cudnn.benchmark = False
    try:
        return getattr(runner, mode)()
    finally:
        torch.backends.cudnn.benchmark = benchmark
        runner.visualizer.close()
        release_workers(runner)


def latest_checkpoint(work_dir: str) -> Optional[str]:
    """Find where an interrupted step goes on.

    Args:
        work_dir (str): Work dir of the step.

    Returns:
        str, optional: The latest checkpoint, also if the directory has been
        moved since; None if there is none.
    """
    if not osp.isfile(osp.join(work_dir, 'last_checkpoint')):
        return None
    saved = find_latest_checkpoint(work_dir)
    # MMEngine notes an absolute path.
    moved = osp.join(work_dir, osp.basename(saved))
    for path in (moved, saved):
        if osp.isfile(path):
            return path
    raise IncrementalConfigError(
        f'{work_dir}/last_checkpoint names {saved}, which does not exist; '
        'put the file back, or remove the directory to train the step anew.')
