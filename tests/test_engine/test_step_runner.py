import copy
import gc
import weakref

import pytest
import torch
from mmengine.config import Config

from mmseg_incremental.engine import build_step_cfg, step_runner
from mmseg_incremental.engine.step_config import build_test_cfg
from mmseg_incremental.engine.step_runner import (FormattedOnce,
                                                  _keep_small_batch, freed,
                                                  latest_checkpoint)
from mmseg_incremental.errors import IncrementalConfigError


def test_latest_checkpoint(tmp_path):
    work_dir = tmp_path / 'step_1'
    assert latest_checkpoint(str(work_dir)) is None
    work_dir.mkdir()
    saved = work_dir / 'iter_2.pth'
    (work_dir / 'last_checkpoint').write_text(str(saved))
    with pytest.raises(IncrementalConfigError, match='put the file back'):
        latest_checkpoint(str(work_dir))
    saved.write_bytes(b'')
    assert latest_checkpoint(str(work_dir)) == str(saved)
    moved = tmp_path / 'moved'
    work_dir.rename(moved)
    assert latest_checkpoint(str(moved)) == str(moved / 'iter_2.pth')


@pytest.mark.parametrize('batch_size, kept', [(2, True), (3, True),
                                              (4, False)])
def test_only_batch_is_not_dropped(tiny_cfg, tmp_path, batch_size, kept):
    cfg = build_step_cfg(tiny_cfg(tmp_path), 1)
    cfg.train_dataloader.update(drop_last=True, batch_size=batch_size)
    # Step 1 has three images.
    _keep_small_batch(cfg)
    assert cfg.train_dataloader.drop_last == kept


@pytest.fixture(autouse=True)
def nothing_formatted(monkeypatch):
    for name in ('_texts', '_before'):
        monkeypatch.setattr(FormattedOnce, name, {})


def test_config_is_formatted_once(tiny_cfg, tmp_path, monkeypatch):
    cfg = build_step_cfg(tiny_cfg(tmp_path), 1)
    once = FormattedOnce.from_config(cfg)
    assert once.pretty_text == cfg.pretty_text

    monkeypatch.setattr(Config, 'pretty_text', property(lambda self: 1 / 0))
    assert copy.deepcopy(once).pretty_text == once.pretty_text
    once.work_dir = 'elsewhere'
    with pytest.raises(ZeroDivisionError):
        once.pretty_text


def test_parts_of_the_runner_before_are_formatted_once(tiny_cfg, tmp_path,
                                                       monkeypatch):
    cfg = tiny_cfg(tmp_path)
    before = FormattedOnce.from_config(build_step_cfg(cfg, 1))
    evaluation = FormattedOnce.from_config(build_test_cfg(cfg, 1))
    # A Runner asks more than once.
    for earlier in (before, before, evaluation, evaluation):
        assert earlier.pretty_text
    formatted, real = [], Config.pretty_text.fget

    def spy(self):
        formatted.extend(self.keys())
        return real(self)

    monkeypatch.setattr(Config, 'pretty_text', property(spy))
    after = FormattedOnce.from_config(build_step_cfg(cfg, 2))
    assert after.pretty_text == real(after)
    assert {'work_dir', 'model'} <= {*formatted}
    assert not {'optim_wrapper', 'train_cfg'} & {*formatted}
    assert len(FormattedOnce._texts) < 2 * len(after._cfg_dict)


def test_config_keeps_how_it_is_written():
    cfg = Config(dict(a=dict(b=[1, 2])), format_python_code=False)
    once = FormattedOnce.from_config(cfg)
    assert once.pretty_text == cfg.pretty_text
    assert once.a.b == [1, 2] and 'latest' not in once


@pytest.mark.parametrize('mode, expected', [('train', True), ('test', False)])
def test_cudnn_times_algorithms_in_training_alone(tiny_cfg, tmp_path,
                                                  monkeypatch, mode, expected):
    cfg = build_step_cfg(tiny_cfg(tmp_path), 1)
    cfg.env_cfg.cudnn_benchmark = True
    seen = []
    monkeypatch.setattr(torch.backends.cudnn, 'benchmark', False)
    monkeypatch.setattr(
        step_runner.Runner, mode,
        lambda runner: seen.append(torch.backends.cudnn.benchmark))
    step_runner._run(cfg, mode)
    assert seen == [expected]
    assert torch.backends.cudnn.benchmark


class Circle:
    """What only the garbage collector can free."""

    def __init__(self):
        self.itself = self


def test_what_others_have_frozen_stays_frozen():
    gc.freeze()
    try:
        count = gc.get_freeze_count()
        with freed(), freed():
            pass
        assert gc.get_freeze_count() == count > 0
    finally:
        gc.unfreeze()


@pytest.mark.parametrize('error', [None, ValueError])
def test_what_comes_about_is_freed(error):
    # Other tests of the process may have frozen what they need.
    gc.unfreeze()
    before = Circle()
    try:
        with freed():
            circle = weakref.ref(Circle())
            assert gc.get_freeze_count() > 0
            if error is not None:
                raise error
    except ValueError:
        pass
    assert circle() is None
    assert gc.get_freeze_count() == 0
    # What was there before is not kept for ever.
    other = weakref.ref(before)
    del before
    gc.collect()
    assert other() is None
