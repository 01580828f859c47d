from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.registry import init_default_scope
from mmengine.runner import get_priority
from mmseg.registry import HOOKS, MODELS

from mmseg_incremental.engine.hooks import FixedClassifierHook

OLD, SEEN = 3, 5


def _head_cfg(type='FCNHead', in_index=3, num_classes=SEEN):
    cfg = dict(
        type=type,
        in_channels=4 * 2**in_index,
        in_index=in_index,
        channels=4,
        num_convs=1,
        num_classes=num_classes)
    if type == 'STDCHead':
        cfg['loss_decode'] = dict(type='CrossEntropyLoss', use_sigmoid=True)
    return cfg


@pytest.fixture
def model():
    init_default_scope('mmseg')
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='IncrementalEncoderDecoder',
            backbone=dict(
                type='ResNetV1c', depth=18, base_channels=4, stem_channels=4),
            decode_head=_head_cfg(),
            auxiliary_head=[
                _head_cfg(in_index=2),
                _head_cfg('STDCHead', in_index=0, num_classes=2)
            ],
            test_cfg=dict(mode='whole')))


def _classifiers(model):
    return {
        name: param
        for name, param in model.named_parameters() if 'conv_seg' in name
    }


def _train(model, hook, num_iters, wrapped=False):
    """SGD with all that moves a weight without a gradient."""
    runner = SimpleNamespace(
        model=torch.nn.parallel.DataParallel(model) if wrapped else model)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    # Momentum from before the hook sees the model.
    for param in _classifiers(model).values():
        param.grad = torch.ones_like(param)
    optimizer.step()
    hook.before_train(runner)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for index in range(num_iters):
        optimizer.zero_grad()
        if index == 0:
            sum(p.square().sum() for p in model.parameters()).backward()
        optimizer.step()
        hook.after_train_iter(runner, index)
    return before


@pytest.mark.parametrize('wrapped', [False, True])
def test_old_rows_stay_to_the_bit(model, wrapped):
    hook = HOOKS.build(dict(type='FixedClassifierHook', num_old=OLD))
    assert type(hook) is FixedClassifierHook
    before = _train(model, hook, 3, wrapped)
    for name, param in _classifiers(model).items():
        if 'auxiliary_head.1' in name:
            # STDC's head predicts boundaries, which have no old classes.
            assert torch.all(param != before[name])
            continue
        assert torch.equal(param[:OLD], before[name][:OLD]), name
        assert torch.all(param[OLD:] != before[name][OLD:]), name
    assert not torch.equal(model.backbone.layer4[0].conv1.weight,
                           before['backbone.layer4.0.conv1.weight'])


def test_parameters_stay_those_of_the_optimizer(model):
    params = _classifiers(model)
    _train(model, FixedClassifierHook(OLD), 1)
    for name, param in _classifiers(model).items():
        assert param is params[name] and param.requires_grad


def test_each_step_has_rows_of_its_own(model):
    """What the rows are when training begins, and not when it is built."""
    hook = FixedClassifierHook(OLD)
    with torch.no_grad():
        for param in _classifiers(model).values():
            param.fill_(7)
    before = _train(model, hook, 2)
    assert torch.equal(model.decode_head.conv_seg.weight[:OLD],
                       before['decode_head.conv_seg.weight'][:OLD])


def test_gradient_of_old_rows_is_not_counted(model):
    hook = FixedClassifierHook(OLD)
    hook.before_train(SimpleNamespace(model=model))
    weight = model.decode_head.conv_seg.weight
    # As of an overflow in mixed precision, which is not theirs.
    factor = torch.ones_like(weight)
    factor[0] = torch.inf
    (factor * weight).square().sum().backward()
    assert torch.all(weight.grad[:OLD] == 0)
    assert torch.equal(weight.grad[OLD:], 2 * weight[OLD:])
    norm = torch.nn.utils.clip_grad_norm_([weight], 1e9)
    torch.testing.assert_close(norm, (2 * weight[OLD:]).norm())
    hook.after_train(SimpleNamespace(model=model))
    weight.grad = None
    weight.square().sum().backward()
    assert torch.equal(weight.grad, 2 * weight)


def test_rows_are_back_before_ema_sees_them():
    assert get_priority(FixedClassifierHook.priority) < get_priority(
        EMAHook.priority)
