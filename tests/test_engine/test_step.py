import pytest
import torch

from mmseg_incremental.engine import build_step_cfg
from mmseg_incremental.engine import step as one_step
from mmseg_incremental.engine.step import _keep_small_batch, latest_checkpoint
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


@pytest.mark.parametrize('mode, expected', [('train', True), ('test', False)])
def test_cudnn_times_algorithms_in_training_alone(tiny_cfg, tmp_path,
                                                  monkeypatch, mode, expected):
    cfg = build_step_cfg(tiny_cfg(tmp_path), 1)
    cfg.env_cfg.cudnn_benchmark = True
    seen = []
    monkeypatch.setattr(torch.backends.cudnn, 'benchmark', False)
    monkeypatch.setattr(
        one_step.StepRunner, mode,
        lambda runner: seen.append(torch.backends.cudnn.benchmark))
    one_step._run(cfg, mode)
    assert seen == [expected]
    assert torch.backends.cudnn.benchmark
