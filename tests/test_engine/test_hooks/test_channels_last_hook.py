from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import Runner, get_priority
from mmseg.registry import HOOKS
from torch import nn

from mmseg_incremental.engine import build_step_cfg
from mmseg_incremental.engine.hooks import (ChannelsLastHook,
                                            TeacherSnapshotHook)


def _network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def _is_channels_last(model):
    weight = model[0].weight
    return (weight.is_contiguous(memory_format=torch.channels_last)
            and not weight.is_contiguous())


@pytest.fixture
def model():
    network = _network()
    object.__setattr__(network, 'teacher', _network())
    return network


def test_model_and_teacher_change_their_layout(model):
    hook = HOOKS.build(dict(type='ChannelsLastHook'))
    inputs = torch.randn(2, 3, 8, 8)
    before = model(inputs)
    hook.before_train(SimpleNamespace(model=model))
    assert _is_channels_last(model) and _is_channels_last(model.teacher)
    outputs = model(inputs)
    # Activations follow the weights.
    assert outputs.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(outputs, before)


def test_wrapped_model_keeps_its_layout(model):
    """Its wrapper has arranged gradients by the layout it found."""
    wrapped = nn.parallel.DataParallel(model)
    ChannelsLastHook().before_train(SimpleNamespace(model=wrapped))
    assert not _is_channels_last(model)
    assert _is_channels_last(model.teacher)


def test_optimizer_keeps_its_parameters(model):
    """Built before the hook runs, it has to see the same tensors after."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ChannelsLastHook().before_train(SimpleNamespace(model=model))
    old = model[0].weight.detach().clone()
    model(torch.randn(2, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(model[0].weight, old)
    assert _is_channels_last(model)


def test_model_without_teacher():
    model = _network()
    ChannelsLastHook().before_train(SimpleNamespace(model=model))
    assert _is_channels_last(model)


def test_testing_changes_the_model_alone(model):
    ChannelsLastHook().before_test(SimpleNamespace(model=model))
    assert _is_channels_last(model) and not _is_channels_last(model.teacher)


def test_testing_elsewhere_is_in_the_usual_layout(model):
    """A GPU would prepare its convolutions for each shape of images."""
    model = model.to('meta')
    runner = SimpleNamespace(model=model)
    ChannelsLastHook().before_train(runner)
    assert _is_channels_last(model)
    ChannelsLastHook().before_test(runner)
    assert not _is_channels_last(model)


@pytest.mark.parametrize('device', ['cpu', 'meta'])
def test_validation_and_training_take_turns(model, device):
    model, hook = model.to(device), ChannelsLastHook()
    runner = SimpleNamespace(model=model)
    weight = model[0].weight
    hook.before_train(runner)
    hook.before_val(runner)
    assert _is_channels_last(model) == (device == 'cpu')
    hook.after_val(runner)
    assert _is_channels_last(model)
    # The one that the optimizer knows.
    assert model[0].weight is weight


@pytest.mark.parametrize('device', ['cpu', 'meta'])
def test_validation_leaves_a_wrapped_model_alone(model, device, monkeypatch):
    # The wrapper would move the model to a GPU.
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    runner = SimpleNamespace(model=nn.parallel.DataParallel(model.to(device)))
    for call in ('before_train', 'before_val', 'after_val'):
        getattr(ChannelsLastHook(), call)(runner)
        assert not _is_channels_last(model)


def test_runs_after_the_teacher_is_set():
    assert (get_priority(ChannelsLastHook.priority)
            > get_priority(TeacherSnapshotHook.priority))


def test_runs_before_regularizers_take_buffers(tiny_cfg, tmp_path):
    """Buffers in another layout than the weights would be slower."""
    cfg = tiny_cfg(tmp_path, method='ewc')
    cfg.custom_hooks = [dict(type='ChannelsLastHook')]
    runner = SimpleNamespace(_hooks=[])
    for hook in build_step_cfg(cfg, 1).custom_hooks:
        Runner.register_hook(runner, hook)
    order = [type(hook).__name__ for hook in runner._hooks]
    assert order.index('ChannelsLastHook') < order.index(
        'WeightRegularizerHook')
