from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import LoggerHook
from mmengine.logging import MessageHub
from mmengine.runner import get_priority
from mmseg.registry import HOOKS

from mmseg_incremental.engine.hooks import (StepCheckpointHook,
                                            TrainingCostHook,
                                            training_cost_hook)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A clock and memory gauges that a test sets."""
    now = SimpleNamespace(seconds=0.0, ru_maxrss=2048, cuda=0)
    monkeypatch.setattr(training_cost_hook.time, 'perf_counter',
                        lambda: now.seconds)
    monkeypatch.setattr(
        training_cost_hook, 'resource',
        SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: now))
    monkeypatch.setattr(training_cost_hook.sys, 'platform', 'linux')
    monkeypatch.setattr(training_cost_hook, 'is_cuda_available', lambda: False)
    monkeypatch.setattr(training_cost_hook, 'device_name', lambda: 'CPU')
    monkeypatch.setattr(training_cost_hook, 'GAUGE_OF_LINUX', tmp_path / 'no')
    return now


@pytest.fixture
def runner():
    return SimpleNamespace(message_hub=MessageHub('hub'))


def save(hook, runner) -> dict:
    checkpoint = dict(meta={}, message_hub=runner.message_hub.state_dict())
    hook.before_save_checkpoint(runner, checkpoint)
    return checkpoint


def cost(hook, runner) -> dict:
    return save(hook, runner)['meta']['incremental']


def test_nothing_outside_training(runner):
    assert save(TrainingCostHook(), runner)['meta'] == {}


def test_what_is_there_stays(machine, runner):
    hook = HOOKS.build(dict(type='TrainingCostHook'))
    hook.before_train(runner)
    checkpoint = dict(
        meta=dict(incremental=dict(step=3)),
        message_hub=runner.message_hub.state_dict())
    hook.before_save_checkpoint(runner, checkpoint)
    assert checkpoint['meta']['incremental'] == dict(
        step=3, train_seconds=0, peak_memory_mb=2.0, device='CPU')


def test_goes_on_after_resuming(machine, runner):
    hook = TrainingCostHook()
    hook.before_train(runner)
    machine.seconds = 2.5
    saved = save(hook, runner)
    assert saved['meta']['incremental'] == dict(
        train_seconds=2.5, peak_memory_mb=2.0, device='CPU')

    hook = TrainingCostHook()
    runner.message_hub.load_state_dict(saved['message_hub'])
    machine.seconds, machine.ru_maxrss = 100., 1024
    hook.before_train(runner)
    machine.seconds = 101.
    assert cost(hook, runner) == dict(
        train_seconds=3.5, peak_memory_mb=2.0, device='CPU')
    machine.ru_maxrss = 3072
    assert cost(hook, runner)['peak_memory_mb'] == 3.0


def test_macos_counts_bytes(machine, runner, monkeypatch):
    monkeypatch.setattr(training_cost_hook.sys, 'platform', 'darwin')
    machine.ru_maxrss = 5 * 2**20
    hook = TrainingCostHook()
    hook.before_train(runner)
    assert cost(hook, runner)['peak_memory_mb'] == 5


def test_a_system_that_does_not_tell(machine, runner, monkeypatch):
    monkeypatch.setattr(training_cost_hook, 'resource', None)
    hook = TrainingCostHook()
    hook.before_train(runner)
    assert cost(hook, runner)['peak_memory_mb'] is None


def test_gauge_of_linux_is_reset(machine, runner, monkeypatch, tmp_path):
    gauge = tmp_path / 'clear_refs'
    gauge.touch()
    monkeypatch.setattr(training_cost_hook, 'GAUGE_OF_LINUX', gauge)
    TrainingCostHook().before_train(runner)
    assert gauge.read_text() == '5'
    # What may not be written is left alone.
    monkeypatch.setattr(training_cost_hook, 'GAUGE_OF_LINUX', tmp_path)
    TrainingCostHook().before_train(runner)


def test_gauge_of_cuda(machine, runner, monkeypatch):
    """The log resets it, so every iteration is looked at before that."""
    monkeypatch.setattr(training_cost_hook, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated',
                        lambda: machine.cuda)
    monkeypatch.setattr(torch.cuda, 'reset_peak_memory_stats',
                        lambda: setattr(machine, 'cuda', 0))
    # What the evaluation before took.
    machine.cuda = 100 * 2**20
    hook = TrainingCostHook()
    hook.before_train(runner)
    for allocated in (3 * 2**20, 7 * 2**20, 2**20):
        machine.cuda = allocated
        hook.after_train_iter(runner, 0)
    assert cost(hook, runner)['peak_memory_mb'] == 7
    order = [
        get_priority(hook.priority)
        for hook in (TrainingCostHook, LoggerHook, StepCheckpointHook)
    ]
    assert order == sorted(order) and len(set(order)) == 3
