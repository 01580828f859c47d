"""One step as an ordinary Runner."""
import gc
import os.path as osp
from contextlib import contextmanager
from typing import Any, Dict, Iterator, Optional

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, Runner
from mmengine.runner.checkpoint import find_latest_checkpoint
from mmseg.registry import DATASETS

from mmseg_incremental.errors import IncrementalConfigError
from .panel import prepare_panel
from .run_results import drop_evaluation
from .step_config import build_step_cfg, build_test_cfg


def train_step(cfg: Config, step: int, resume: bool = False) -> None:
    """Train one step to its ``final.pth``.

    Args:
        cfg (Config): Config of the run.
        step (int): The step, counted from 0.
        resume (bool): Whether to continue at the latest checkpoint of the
            step, if there is one. Defaults to False.
    """
    step_cfg = build_step_cfg(cfg, step)
    _keep_small_batch(step_cfg)
    latest = latest_checkpoint(step_cfg.work_dir) if resume else None
    if latest is not None:
        step_cfg.resume, step_cfg.load_from = True, latest
    drop_evaluation(step_cfg.work_dir)
    _run(step_cfg, 'train')


def _keep_small_batch(step_cfg: Config) -> None:
    """Do not drop the only batch of a step with few images."""
    loader = step_cfg.train_dataloader
    if loader.get('drop_last'):
        images = len(DATASETS.build(loader.dataset))
        if images < loader.batch_size * get_world_size():
            print_log(
                f'{images} images are less than a batch of '
                f'{loader.batch_size} on each device: drop_last is off',
                logger='current')
            loader.drop_last = False


def evaluate_step(cfg: Config,
                  step: int,
                  checkpoint: Optional[str] = None) -> dict:
    """Evaluate one step over all classes seen so far.

    Args:
        cfg (Config): Config of the run.
        step (int): The step, counted from 0.
        checkpoint (str, optional): Defaults to None: the step's own.

    Returns:
        dict: Percentages of :class:`IncrementalIoUMetric`.
    """
    test_cfg = build_test_cfg(cfg, step, checkpoint)
    # The panel belongs to the run, another checkpoint does not.
    hook = prepare_panel(cfg, step) if checkpoint is None else None
    if hook is not None:
        test_cfg.custom_hooks = [*(test_cfg.custom_hooks or []), hook]
    return _run(test_cfg, 'test')


class FormattedOnce(Config):
    """A config of which each part is formatted once.

    A Runner wants the text for its log, its work dir and its visualizer, and
    yapf takes longer each time than all else that is built. Most parts are
    those of the Runner before, of training or of the step before.
    """

    _texts: Dict[str, str] = {}
    _before: Dict[str, str] = {}

    @classmethod
    def from_config(cls, cfg: Config) -> 'FormattedOnce':
        """Take over a config.

        Args:
            cfg (Config): The config, whose content is shared.

        Returns:
            FormattedOnce: The same config.
        """
        once = cls.__new__(cls)
        once.__setstate__(cfg.__getstate__())
        return once

    @property
    def pretty_text(self) -> str:
        """str: The config as Python code."""
        as_code = self._format_python_code
        texts, content_of = {}, self.to_dict()
        for key in sorted(content_of, key=str):
            part = {key: content_of[key]}
            content = f'{as_code} {part!r}'
            known = FormattedOnce._texts.get(content)
            texts[content] = known or Config(
                part, format_python_code=as_code).pretty_text
        # An evaluation comes between two trainings; others do not pile up.
        if texts != self._before:
            FormattedOnce._texts = {**self._before, **texts}
            FormattedOnce._before = texts
        # yapf ends a text with a line feed, MMEngine by itself does not.
        written = texts.values()
        end = '\n' if any(text.endswith('\n') for text in written) else ''
        return '\n'.join(text.rstrip('\n') for text in written) + end


def _run(cfg: Config, mode: str) -> Any:
    """Train or test in a Runner of its own and free all that it held."""
    with freed():
        return _run_in_runner(cfg, mode)


def _run_in_runner(cfg: Config, mode: str) -> Any:
    runner = Runner.from_cfg(FormattedOnce.from_config(cfg))
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


@contextmanager
def freed() -> Iterator[None]:
    """Free what has come about inside: a Runner refers to itself in circles.

    The libraries are not searched for garbage with it, which would take
    longer than all else at the end of a step. What somebody else has frozen
    stays so.
    """
    freezes = not gc.get_freeze_count()
    if freezes:
        gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        if freezes:
            gc.unfreeze()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def release_workers(runner: Runner) -> None:
    """Drop the loader iterators while they are whole, so workers stop.

    Left to the garbage collector with the rest of the Runner, their queues
    are finalized first and every worker is waited for five seconds.

    Args:
        runner (Runner): A runner that is done.
    """
    for name in ('_train_loop', '_val_loop', '_test_loop'):
        loop = getattr(runner, name, None)
        if isinstance(loop, BaseLoop):
            loop.dataloader_iterator = None
            loop.dataloader._iterator = None


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
