import copy
import pickle

import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import DataLoader, Dataset, Sampler

from mmseg_incremental.datasets.step_datasets import (StepDatasets, StepIndex,
                                                      StepSampler)


class Numbers(Dataset):
    """Numbers from a first one on, with a random one beside each."""

    def __init__(self, first, size):
        self.first, self.size = first, size
        self.metainfo = dict(first=first)

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return self.first + index, torch.rand(()).item()


def seeded(worker_id, seed=1):
    torch.manual_seed(100 * seed + worker_id)


@pytest.fixture
def data():
    return StepDatasets([Numbers(0, 3), Numbers(10, 2)])


def test_it_looks_like_the_current_dataset(data):
    assert len(data) == 3 and data.metainfo == dict(first=0)
    assert data[1][0] == 1
    data.position = 1
    assert len(data) == 2 and data.metainfo == dict(first=10)
    assert data[1][0] == 11 and data.dataset is data.of_steps[1]
    with pytest.raises(AttributeError, match='palette'):
        data.palette
    with pytest.raises(AttributeError, match='set persistent_workers=False'):
        data.pipeline = []


def test_it_is_pickled_but_not_copied(data):
    data.position = 1
    sampler = StepSampler()
    sampler.turn_to(DefaultSampler(data.dataset), 1, None)
    assert copy.deepcopy(dict(a=data))['a'] is data
    assert copy.deepcopy(dict(a=sampler))['a'] is sampler
    assert pickle.loads(pickle.dumps(data)).metainfo == dict(first=10)
    assert len(pickle.loads(pickle.dumps(sampler))) == 2


def test_sampler(data):
    sampler = StepSampler()
    assert list(sampler) == [] and len(sampler) == 0
    sampler.turn_to(DefaultSampler(data.of_steps[0], shuffle=False), 0, 7)
    assert list(sampler) == [StepIndex(1, 7, 0, i) for i in range(3)]
    # One of the sampler's own.
    assert sampler.num_samples == 3
    assert len(sampler) == 3 and hasattr(sampler, 'set_epoch')
    assert not hasattr(sampler, 'skip')
    sampler.turn_to(InfiniteSampler(data.of_steps[1], shuffle=False), 1, 8)
    sampler.limit = 5
    sampler.skip(1)
    assert [i.index for i in sampler] == [1, 0, 1, 0, 1]
    assert {i[:3] for i in sampler} == {(2, 8, 1)}
    sampler.turn_to(DefaultSampler(data.of_steps[0], shuffle=False), 0, 7)
    indices = iter(sampler)
    next(indices)
    # MMEngine may ask for the first ones before it is known.
    sampler.limit = 2
    assert len(list(indices)) == 1


def test_a_turn_takes_the_random_number_of_new_workers(data):
    sampler = StepSampler()
    torch.manual_seed(0)
    iter(DataLoader(data, num_workers=1))
    expected = torch.get_rng_state()

    torch.manual_seed(0)
    sampler.turn_to(DefaultSampler(data.of_steps[0]), 0, None)
    list(sampler)
    assert torch.equal(torch.get_rng_state(), expected)
    list(sampler)
    assert torch.equal(torch.get_rng_state(), expected)


def fresh(dataset, sampler, batches=2):
    loader = DataLoader(
        dataset,
        sampler=sampler,
        num_workers=2,
        worker_init_fn=seeded,
        batch_size=None)
    numbers = iter(loader)
    return [next(numbers) for _ in range(batches)]


def test_workers_that_stay_give_what_new_ones_give(data):
    sampler: Sampler = StepSampler()
    data.init_worker = seeded
    loader = DataLoader(
        data,
        sampler=sampler,
        num_workers=2,
        worker_init_fn=seeded,
        persistent_workers=True,
        batch_size=None)
    workers = set()
    for position in (0, 1, 0, 0):
        inner = data.of_steps[position]
        data.position = position
        # More is loaded in advance than is read.
        sampler.turn_to(InfiniteSampler(inner, seed=1), position, 1)
        numbers = iter(loader)
        given = [next(numbers) for _ in range(2)]
        assert given == fresh(inner, InfiniteSampler(inner, seed=1))
        workers |= {worker.pid for worker in loader._iterator._workers}
    assert len(workers) == 2
