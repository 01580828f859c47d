import multiprocessing
import os

import pytest
import torch
from mmengine import dist

from mmseg_incremental.engine import distributed
from mmseg_incremental.engine.distributed import (end_distributed,
                                                  on_main_process,
                                                  start_distributed)
from mmseg_incremental.errors import IncrementalConfigError

FORK = multiprocessing.get_context('fork')


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


@pytest.fixture
def at_exit(monkeypatch):
    """What ``start_distributed`` leaves to the end of the interpreter."""
    calls = []
    monkeypatch.setattr(distributed.atexit, 'register', calls.append)
    return calls


def test_processes_on_cpus(tiny_cfg, tmp_path, monkeypatch, at_exit):
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
    assert at_exit == [end_distributed]
    for _ in range(2):
        at_exit[0]()
        assert not dist.is_distributed()


def test_a_process_group_of_the_caller_is_kept(tiny_cfg, tmp_path, monkeypatch,
                                               at_exit):
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cpu')
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    start_distributed(tiny_cfg(tmp_path, launcher='pytorch'))
    assert not at_exit


def test_processes_on_gpus(tiny_cfg, tmp_path, monkeypatch, at_exit):
    calls = []
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(distributed, 'init_dist',
                        lambda *args, **kwargs: calls.append((args, kwargs)))
    cfg = tiny_cfg(tmp_path, launcher='slurm')
    start_distributed(cfg)
    assert calls == [(('slurm', ), dict(backend='nccl'))]
    assert at_exit == [end_distributed]
    assert cfg.model.backbone.norm_cfg.type == 'SyncBN'
    assert 'model_wrapper_cfg' not in cfg


def rank_of(error):
    if error is not None:
        raise error
    return dist.get_rank()


def call_as_rank(queue, rank, store, error):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    try:
        result = on_main_process(rank_of, error)
    except Exception as failure:
        result = type(failure), str(failure)
    queue.put((rank, result))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize('error, rank_0, rank_1', [
    (None, 0, 0),
    (IncrementalConfigError('no such key'), ) +
    ((IncrementalConfigError, 'no such key'), ) * 2,
    (OSError('disk full'), (OSError, 'disk full'),
     (RuntimeError, 'rank 0 failed: disk full')),
])  # yapf: disable
def test_every_rank_hears_of_rank_0(tmp_path, error, rank_0, rank_1):
    queue = FORK.Queue()
    processes = [
        FORK.Process(
            target=call_as_rank, args=(queue, rank, tmp_path / 'store', error))
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    results = dict(queue.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
    assert results == {0: rank_0, 1: rank_1}


def test_a_single_process_calls_and_raises():
    assert on_main_process(max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        on_main_process(lambda: 1 / 0)
