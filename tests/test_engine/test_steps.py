import os

import pytest
import torch

from mmseg_incremental.engine import build_step_cfg, distributed
from mmseg_incremental.engine.distributed import start_distributed
from mmseg_incremental.engine.steps import (_check_checkpoint,
                                            _keep_small_batch,
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


@pytest.mark.parametrize('names, message', [
    (['background', 'disc'], 'has the classes .* but step 0'),
    (None, 'does not fit the model'),
])
def test_checkpoint_to_evaluate(tiny_cfg, tmp_path, names, message):
    meta = dict(dataset_meta=dict(classes=names)) if names else {}
    torch.save(
        dict(meta=meta, state_dict=dict(a=torch.ones(1))), tmp_path / 'a.pth')
    with pytest.raises(IncrementalConfigError, match=message):
        _check_checkpoint(tiny_cfg(tmp_path), 0, str(tmp_path / 'a.pth'))


def test_no_launcher(tiny_cfg, tmp_path):
    cfg = tiny_cfg(tmp_path)
    before = cfg._cfg_dict.to_dict()
    start_distributed(cfg)
    assert cfg._cfg_dict.to_dict() == before


def test_launchers_that_need_a_gpu(tiny_cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cpu')
    cfg = tiny_cfg(tmp_path, launcher='slurm')
    with pytest.raises(IncrementalConfigError, match='--launcher slurm needs'):
        start_distributed(cfg)


def test_processes_on_cpus(tiny_cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cpu')
    for key, value in dict(
            RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1',
            MASTER_PORT='0').items():
        monkeypatch.setitem(os.environ, key, value)
    cfg = tiny_cfg(tmp_path, launcher='pytorch', find_unused_parameters=True)
    start_distributed(cfg)
    start_distributed(cfg)
    assert torch.distributed.get_backend() == 'gloo'
    assert cfg.model.backbone.norm_cfg.type == 'BN'
    assert cfg.model_wrapper_cfg == dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=True)


def test_processes_on_gpus(tiny_cfg, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(distributed, 'init_dist',
                        lambda *args, **kwargs: calls.append((args, kwargs)))
    cfg = tiny_cfg(tmp_path, launcher='slurm')
    start_distributed(cfg)
    assert calls == [(('slurm', ), dict(backend='nccl'))]
    assert cfg.model.backbone.norm_cfg.type == 'SyncBN'
    assert 'model_wrapper_cfg' not in cfg
