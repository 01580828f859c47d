import shutil

import pytest
import torch
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

from mmseg_incremental.engine import run_steps

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
        # None where workers end with an iteration over the data.
        if iterator is not None:
            pids = [worker.pid for worker in iterator._workers]
            seen.append((mode, pids, iterator._tasks_outstanding, left))

    def after_train_iter(self, runner, batch_idx, *args, **kwargs):
        loop = runner.train_loop
        self.note(loop, 'train', loop.max_iters - batch_idx - 1)

    def after_test_iter(self, runner, batch_idx, *args, **kwargs):
        loop = runner.test_loop
        self.note(loop, 'test', len(loop.dataloader) - batch_idx - 1)


@pytest.fixture
def runs(tiny_cfg, tmp_path):
    """Train steps in folders of their own, and return the weights of each."""
    seen.clear()

    def train(name, steps, resume=False, **options):
        cfg = tiny_cfg(tmp_path / name, **OPTIONS, **options)
        cfg.custom_hooks = [dict(type='WatchWorkersHook')]
        run_steps(cfg, steps=steps, resume=resume)
        return [
            torch.load(path, weights_only=True)['state_dict']
            for path in sorted((tmp_path / name).glob('*/final.pth'))
        ]

    return train


def assert_equal(ours, theirs):
    for step, (our, their) in enumerate(zip(ours, theirs, strict=True)):
        assert list(our) == list(their)
        different = [k for k in our if not torch.equal(our[k], their[k])]
        assert not different, step


def test_workers_start_once_a_run_and_change_nothing(runs):
    kept = runs('kept', None)
    for mode, iterations in (('train', 7), ('test', 3)):
        pids = [pids for name, pids, *_ in seen if name == mode]
        assert len(pids) == iterations
        assert pids == pids[:1] * iterations
    # Nothing is loaded in vain.
    assert all(outstanding <= left for *_, outstanding, left in seen)

    seen.clear()
    fresh = runs(
        'fresh', None, **{
            'train_dataloader.persistent_workers': False,
            'test_dataloader.persistent_workers': False
        })
    assert not seen
    assert_equal(kept, fresh)


def test_a_run_goes_on_with_the_same_random_numbers(runs, tmp_path):
    kept = runs('kept', None)
    shutil.copytree(tmp_path / 'kept', tmp_path / 'cut')
    shutil.rmtree(tmp_path / 'cut' / 'step_2')
    assert_equal(kept, runs('cut', [2], resume=True))
