import copy
import json
import os
import os.path as osp
import random
import sys
from contextlib import contextmanager
from typing import Iterator, Optional

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import RepeatDataset
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.utils import ProgressBar
from mmseg.registry import HOOKS
from torch.utils.data import DataLoader

from mmseg_incremental.datasets.step_datasets import StepDatasets
from mmseg_incremental.evaluation.results_io import write_atomically
from ..distributed import on_main_process, unwrap_model

STATE_FILE = 'label_completion.json'
# Of the loader of the pass.
PURPOSE = 'label completion'


@HOOKS.register_module()
class LabelCompletionHook(Hook):
    """Show the training set of a step to the label completer, once.

    The teacher runs over every training image before the first iteration,
    with the augmentation of training. What the completer finds is kept in
    ``label_completion.json`` in the work dir of the step, so that a step
    which is resumed does not look again. In distributed training each rank
    takes its share of the images; where they do not divide evenly, the first
    ones count twice.
    """

    # After TeacherSnapshotHook (NORMAL).
    priority = 'BELOW_NORMAL'

    def before_train(self, runner: Runner) -> None:
        """Run the pass, or read what the interrupted run has found.

        Args:
            runner (Runner): The runner of the step.
        """
        model = unwrap_model(runner)
        completer = model.label_completion
        if not completer.needs_pass:
            return
        path = osp.join(runner.work_dir, STATE_FILE)
        found = on_main_process(_read, path) if runner._resume else None
        if found is not None:
            completer.load_state_dict(found)
            runner.logger.info(f'Label completion: read from {path}')
            return
        _observe(runner, model)
        completer.finish()
        text = json.dumps(completer.state_dict(), indent=2)
        on_main_process(write_atomically, f'{text}\n'.encode(), path)
        runner.logger.info(f'Label completion: written to {path}')


def _read(path: str) -> Optional[dict]:
    """What an earlier pass has written, None if it did not end."""
    if not osp.isfile(path):
        return None
    with open(path, encoding='utf-8') as file:
        return json.load(file)


def _observe(runner: Runner, model: torch.nn.Module) -> None:
    """Run the teacher over the training set."""
    # The teacher in the precision of training: thresholds lie close together.
    precise = runner.optim_wrapper.optim_context(model)
    with _same_random_numbers(), torch.no_grad(), precise, open(
            os.devnull, 'w') as nowhere:
        loader = _build_loader(runner)
        runner.logger.info('Label completion: the teacher runs over the '
                           f'training images, {len(loader)} batches')
        # In a log file every update of the bar would be a line.
        shown = is_main_process() and sys.stderr.isatty()
        bar = ProgressBar(len(loader), file=sys.stderr if shown else nowhere)
        for batch in loader:
            batch = model.data_preprocessor(batch, training=True)
            model.observe_labels(batch['inputs'], batch['data_samples'])
            bar.update()


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Let training draw the same numbers with and without a pass."""
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def completion_loader(train_loader: ConfigDict) -> ConfigDict:
    """Config of a loader of every training image, beside the one that trains.

    Args:
        train_loader (ConfigDict): Config of the latter.

    Returns:
        ConfigDict: The images in their order, each once.
    """
    cfg = copy.deepcopy(train_loader)
    while cfg.dataset.type in ('RepeatDataset', RepeatDataset):
        cfg.dataset = cfg.dataset.dataset
    cfg.update(
        sampler=ConfigDict(type='DefaultSampler', shuffle=False),
        drop_last=False)
    cfg.pop('batch_sampler', None)
    return cfg


def _build_loader(runner: Runner) -> DataLoader:
    cfg = completion_loader(runner.cfg.train_dataloader)
    loaders, kept = getattr(runner, 'loaders', None), None
    if loaders is not None:
        kept = loaders.get(cfg, runner.seed, purpose=PURPOSE)
    if kept is not None:
        return kept
    # That of training is built already.
    dataset = runner.train_dataloader.dataset
    while isinstance(dataset, (StepDatasets, RepeatDataset)):
        dataset = dataset.dataset
    cfg.update(dataset=dataset, persistent_workers=False)
    return runner.build_dataloader(cfg, seed=runner.seed)
