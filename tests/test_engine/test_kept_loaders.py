import pytest
import torch
from mmengine.runner import Runner

from mmseg_incremental.engine import build_step_cfg
from mmseg_incremental.engine.kept_loaders import KeptLoaders, workers_stay

WORKERS = {'train_dataloader.num_workers': 1, 'test_dataloader.num_workers': 1}


@pytest.fixture
def loader_cfgs(tiny_cfg, tmp_path):
    """The train loaders of all steps."""
    cfg = tiny_cfg(tmp_path, **WORKERS)
    return [build_step_cfg(cfg, step).train_dataloader for step in range(3)]


def workers(loader):
    return [worker.pid for worker in loader._iterator._workers]


def first_batch(loader):
    batch = next(iter(loader))
    paths = [sample.img_path for sample in batch['data_samples']]
    return paths, torch.stack(batch['inputs'])


@pytest.mark.parametrize('options, expected', [
    (dict(num_workers=2, persistent_workers=True), True),
    (dict(num_workers=2), False),
    (dict(num_workers=0, persistent_workers=False), False),
    (dict(
        num_workers=2, persistent_workers=True,
        batch_sampler=dict(type='A')), False),
    (dict(
        num_workers=2, persistent_workers=True,
        worker_init_fn=dict(type='A')), False),
    (dict(num_workers=2, persistent_workers=True,
          num_batch_per_epoch=3), False),
])
def test_which_workers_stay(options, expected):
    assert workers_stay(options) is expected


def test_workers_stay_over_steps(loader_cfgs):
    with KeptLoaders() as loaders:
        for cfg in loader_cfgs:
            added = loaders.add('train', cfg)
            assert loaders.dataset(cfg.dataset) is added
        started = []
        for step in (0, 1, 2, 1):
            torch.manual_seed(step)
            loader = loaders.get(loader_cfgs[step], seed=3)
            assert loader in loaders
            paths, inputs = first_batch(loader)
            state = torch.get_rng_state()
            started.append(workers(loader))

            torch.manual_seed(step)
            stock = Runner.build_dataloader(loader_cfgs[step], seed=3)
            assert stock not in loaders
            expected_paths, expected = first_batch(stock)
            assert paths == expected_paths
            assert torch.equal(inputs, expected)
            # The same random numbers have been drawn in the main process.
            assert torch.equal(state, torch.get_rng_state())
            assert loader.dataset.metainfo == stock.dataset.metainfo
            assert len(loader) == len(stock)
        assert started == started[:1] * 4
        processes = loader._iterator._workers
        del loader
    assert not any(process.is_alive() for process in processes)


def test_other_settings_have_other_workers(loader_cfgs):
    loader_cfgs[1].batch_size = 3
    with KeptLoaders() as loaders:
        for cfg in loader_cfgs:
            loaders.add('train', cfg)
        first = loaders.get(loader_cfgs[0], seed=3)
        before = first._iterator._workers
        loader = loaders.get(loader_cfgs[1], seed=3)
        assert len(first_batch(loader)[0]) == 3
        # Those that may not be needed again do not wait for it.
        assert not any(worker.is_alive() for worker in before)
        assert first not in loaders and loader in loaders
        again = loaders.get(loader_cfgs[2], seed=3)
        assert len(first_batch(again)[0]) == 4
        # Nobody has said that there would be such a loader.
        loader_cfgs[2].drop_last = True
        assert loaders.get(loader_cfgs[2], seed=3) is None


def test_seeds_of_runners(loader_cfgs):
    with KeptLoaders() as loaders:
        for cfg in loader_cfgs:
            loaders.add('train', cfg)
        started, batches = [], []
        for seed in (3, 4, 3):
            loader = loaders.get(loader_cfgs[0], seed=seed)
            started.append(workers(loader))
            batches.append(first_batch(loader))
            stock = Runner.build_dataloader(loader_cfgs[0], seed=seed)
            paths, inputs = first_batch(stock)
            assert batches[-1][0] == paths
            assert torch.equal(batches[-1][1], inputs)
        assert started == started[:1] * 3
        assert batches[0][0] != batches[1][0]


def test_a_dataset_that_comes_later(loader_cfgs):
    with KeptLoaders() as loaders:
        loaders.add('train', loader_cfgs[0])
        first_batch(loaders.get(loader_cfgs[0], seed=3))
        assert loaders.get(loader_cfgs[1], seed=3) is None
        assert loaders.dataset(loader_cfgs[1].dataset) is None
        loaders.add('train', loader_cfgs[1])
        paths, _ = first_batch(loaders.get(loader_cfgs[1], seed=3))
        assert paths


def test_purposes_run_beside_each_other(tiny_cfg, tmp_path):
    cfg = build_step_cfg(tiny_cfg(tmp_path, **WORKERS), 1)
    with KeptLoaders() as loaders:
        loaders.add('train', cfg.train_dataloader)
        loaders.add('test', cfg.test_dataloader)
        loaders.add('val', cfg.test_dataloader)
        loaders.add('another', cfg.train_dataloader)
        train = loaders.get(cfg.train_dataloader, seed=3)
        test = loaders.get(cfg.test_dataloader, seed=3)
        assert not {*workers(train)} & {*workers(test)}
        assert train.batch_size == 4 and test.batch_size == 16
        assert loaders.get(cfg.test_dataloader, seed=3) is test
        # What has the same data and settings, at the same time.
        other = loaders.get(cfg.train_dataloader, seed=3, purpose='another')
        assert other is not train
        assert other in loaders and train in loaders
        assert not {*workers(train)} & {*workers(other)}


def test_workers_stop_after_an_error(loader_cfgs):
    with KeptLoaders() as loaders, pytest.raises(ZeroDivisionError) as error:
        loaders.add('train', loader_cfgs[0])
        iterator = iter(loaders.get(loader_cfgs[0], seed=3))
        # What is kept in a traceback is not freed.
        raise ZeroDivisionError(iterator)
    assert error.value.args[0] is iterator
    assert not any(worker.is_alive() for worker in iterator._workers)
