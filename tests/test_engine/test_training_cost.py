from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub

from mmseg_incremental.engine import training_cost
from mmseg_incremental.engine.training_cost import TrainingCost


@pytest.fixture
def machine(monkeypatch):
    """A clock and a memory gauge in kilobytes that a test sets."""
    now = SimpleNamespace(seconds=0.0, ru_maxrss=2048)
    monkeypatch.setattr(training_cost.time, 'perf_counter',
                        lambda: now.seconds)
    monkeypatch.setattr(
        training_cost, 'resource',
        SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: now))
    monkeypatch.setattr(training_cost.sys, 'platform', 'linux')
    monkeypatch.setattr(training_cost, 'is_cuda_available', lambda: False)
    return now


def test_nothing_before_the_start():
    assert TrainingCost().read() is None


def test_goes_on_after_resuming(machine):
    cost, hub = TrainingCost(), MessageHub('hub')
    cost.start(hub)
    machine.seconds = 2.5
    saved = cost.read()
    assert saved == dict(train_seconds=2.5, peak_memory_mb=2.0)

    cost = TrainingCost()
    hub.runtime_info.update(saved)
    machine.seconds, machine.ru_maxrss = 100., 1024
    cost.start(hub)
    machine.seconds = 101.
    assert cost.read() == dict(train_seconds=3.5, peak_memory_mb=2.0)
    machine.ru_maxrss = 3072
    assert cost.read()['peak_memory_mb'] == 3.0


def test_macos_counts_bytes(machine, monkeypatch):
    monkeypatch.setattr(training_cost.sys, 'platform', 'darwin')
    machine.ru_maxrss = 5 * 2**20
    cost = TrainingCost()
    cost.start(MessageHub('hub'))
    assert cost.read()['peak_memory_mb'] == 5


def test_a_system_that_does_not_tell(machine, monkeypatch):
    monkeypatch.setattr(training_cost, 'resource', None)
    cost = TrainingCost()
    cost.start(MessageHub('hub'))
    assert cost.read()['peak_memory_mb'] is None


def test_gauge_of_cuda_is_reset_in_between(machine, monkeypatch):
    monkeypatch.setattr(training_cost, 'is_cuda_available', lambda: True)
    cost = TrainingCost()
    cost.start(MessageHub('hub'))
    for allocated in (3 * 2**20, 7 * 2**20, 2**20):
        monkeypatch.setattr(torch.cuda, 'max_memory_allocated',
                            lambda: allocated)
        cost.observe()
    assert cost.read()['peak_memory_mb'] == 7
