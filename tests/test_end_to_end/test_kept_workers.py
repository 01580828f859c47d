import shutil

import pytest
import torch
from mmengine.hooks import Hook
from mmseg.registry import HOOKS
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from mmseg_incremental.engine import data_check, run_steps

# Random flips in the workers, dropout in the main process.
OPTIONS = {
    'num_panel_images': 0,
    'train_dataloader.num_workers': 2,
    'test_dataloader.num_workers': 2
}
seen = []


@HOOKS.register_module()
class WatchWorkersHook(Hook):
    """Note the workers of each iteration and how many batches they load."""

    def note(self, loop, mode, left):
        iterator = loop.dataloader._iterator
        pids = [worker.pid for worker in iterator._workers]
        seen.append((mode, pids, iterator._tasks_outstanding, left))

    def after_train_iter(self, runner, batch_idx, *args, **kwargs):
        loop = runner.train_loop
        self.note(loop, 'train', loop.max_iters - batch_idx - 1)

    def after_test_iter(self, runner, batch_idx, *args, **kwargs):
        loop = runner.test_loop
        self.note(loop, 'test', len(loop.dataloader) - batch_idx - 1)


def in_epochs(cfg):
    """Two passes over the images of a step, and a validation after each."""
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)
    cfg.train_dataloader.sampler.type = 'DefaultSampler'
    cfg.train_dataloader.update(batch_size=3, drop_last=True)
    cfg.default_hooks.checkpoint.update(interval=2, by_epoch=True)
    cfg.incremental_step = dict()
    cfg.validate_during_step = True
    # Other than that of the evaluation.
    cfg.val_dataloader.update(num_workers=1, batch_size=2)


def like_the_pass(cfg):
    """Train with the settings of the loader that label completion has."""
    cfg.train_dataloader.drop_last = False


def dropping(cfg):
    """A step of three images is smaller than a batch."""
    cfg.train_dataloader.drop_last = True


@pytest.fixture
def runs(tiny_cfg, tmp_path):
    """Train steps in folders of their own, and return the weights of each."""
    seen.clear()

    def train(name, method=None, steps=None, resume=False, change=None):
        cfg = tiny_cfg(tmp_path / name, method, **OPTIONS)
        cfg.custom_hooks = [dict(type='WatchWorkersHook')]
        if change is not None:
            change(cfg)
        run_steps(cfg, steps=steps, resume=resume)
        return [
            torch.load(path, weights_only=True)['state_dict']
            for path in sorted((tmp_path / name).glob('*/final.pth'))
        ]

    return train


@pytest.fixture
def started(monkeypatch):
    """Loaders that start workers."""
    loaders = []
    start = _MultiProcessingDataLoaderIter.__init__

    def watched(self, loader):
        loaders.append(loader)
        start(self, loader)

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, '__init__', watched)
    return loaders


def assert_equal(ours, theirs):
    for step, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        assert list(our) == list(their)
        different = [k for k in our if not torch.equal(our[k], their[k])]
        assert not different, step


def test_nothing_is_loaded_in_vain(runs):
    runs('kept')
    assert all(outstanding <= left for *_, outstanding, left in seen)
    for mode, iterations in (('train', 7), ('test', 3)):
        pids = [pids for name, pids, *_ in seen if name == mode]
        assert len(pids) == iterations
        assert pids == pids[:1] * iterations


@pytest.mark.parametrize('method, change, num_loaders, num_fresh', [
    ('mib', None, 2, 6),
    ('plop', None, 3, 8),
    ('plop', like_the_pass, 3, 8),
    ('plop', dropping, 4, 8),
    ('finetune', in_epochs, 3, 9),
])
def test_workers_that_stay_change_nothing(runs, started, monkeypatch, method,
                                          change, num_loaders, num_fresh):
    kept = runs('kept', method, change=change)
    assert len(started) == num_loaders
    monkeypatch.setattr(data_check, 'workers_stay', lambda cfg: False)
    fresh = runs('fresh', method, change=change)
    assert len(started) == num_loaders + num_fresh
    assert_equal(kept, fresh)


def test_a_run_goes_on_with_the_same_random_numbers(runs, tmp_path):
    kept = runs('kept')
    shutil.copytree(tmp_path / 'kept', tmp_path / 'cut')
    shutil.rmtree(tmp_path / 'cut' / 'step_2')
    assert_equal(kept, runs('cut', steps=[2], resume=True))
