import math
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, get_priority
from mmseg.registry import HOOKS, MODELS

from mmseg_incremental.engine import ClassifierGrowthHook
from mmseg_incremental.errors import IncrementalConfigError

SOURCE = ['background', 'cat', 'dog', 'cow']
TARGET = ['background', 'cow', 'bird', 'cat', 'dog']


def _model_cfg(num_classes):

    def head(in_index):
        return dict(
            type='FCNHead',
            in_channels=4 * 2**in_index,
            in_index=in_index,
            channels=4,
            num_convs=1,
            num_classes=num_classes)

    return dict(
        type='IncrementalEncoderDecoder',
        backbone=dict(
            type='ResNetV1c', depth=18, base_channels=4, stem_channels=4),
        decode_head=head(3),
        auxiliary_head=[head(2), head(1)],
        test_cfg=dict(mode='whole'))


@pytest.fixture
def old_model():
    init_default_scope('mmseg')
    return MODELS.build(_model_cfg(len(SOURCE)))


@pytest.fixture
def checkpoint(old_model, tmp_path):
    """A file with the names of its classes in its meta data."""
    path = str(tmp_path / 'old.pth')
    torch.save(
        dict(
            meta=dict(dataset_meta=dict(classes=SOURCE)),
            state_dict=old_model.state_dict()), path)
    return path


def _runner(model, wrapped=False):
    if wrapped:
        model = torch.nn.parallel.DataParallel(model)
    return SimpleNamespace(model=model)


def test_runs_before_ema():
    hook = HOOKS.build(dict(type='ClassifierGrowthHook', classes=TARGET))
    assert get_priority(hook.priority) < get_priority(EMAHook.priority)


# Whatever their order in the config.
@pytest.mark.parametrize('order', [1, -1])
def test_model_and_averaged_model_grow_alike(order, checkpoint, old_model,
                                             tmp_path):
    hooks = [
        dict(type='EMAHook'),
        dict(type='ClassifierGrowthHook', classes=TARGET)
    ]
    runner = Runner(
        model=dict(_model_cfg(len(TARGET)), classifier_init='random'),
        work_dir=str(tmp_path / 'work'),
        custom_hooks=hooks[::order],
        default_scope='mmseg',
        experiment_name='growth')
    runner.call_hook('before_run')
    runner.load_checkpoint(checkpoint, map_location='cpu')
    ema, = (hook for hook in runner.hooks if isinstance(hook, EMAHook))
    own = runner.model.state_dict()
    averaged = ema.ema_model.module.state_dict()
    assert list(own) == list(averaged)
    for key, value in own.items():
        assert torch.equal(value, averaged[key]), key
    rows = [SOURCE.index(name) if name in SOURCE else -1 for name in TARGET]
    for (_, head), (_, old) in zip(runner.model.named_heads(),
                                   old_model.named_heads()):
        for row, source in enumerate(rows):
            if source >= 0:
                assert torch.equal(head.conv_seg.weight[row],
                                   old.conv_seg.weight[source])


@pytest.mark.parametrize('wrapped', [False, True])
def test_rows_are_carried_by_name(wrapped, old_model):
    model = MODELS.build(_model_cfg(len(TARGET)))
    checkpoint = dict(
        meta=dict(dataset_meta=dict(classes=tuple(SOURCE))),
        state_dict=old_model.state_dict())
    hook = ClassifierGrowthHook(TARGET)
    hook.after_load_checkpoint(_runner(model, wrapped), checkpoint)
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    old = old_model.decode_head.conv_seg
    new = model.decode_head.conv_seg
    assert torch.equal(new.weight, old.weight[[0, 3, 0, 1, 2]])
    expected = old.bias[[0, 3, 0, 1, 2]].clone()
    expected[[0, 2]] -= math.log(2)
    torch.testing.assert_close(new.bias, expected)


@pytest.mark.parametrize('meta', [
    dict(dataset_meta=dict(classes=tuple(TARGET))),
    dict(dataset_meta=dict(CLASSES=TARGET)),
    dict(dataset_meta=None),
    dict(),
])
def test_nothing_to_do(meta, old_model):
    """On resuming, and where the checkpoint does not name its classes."""
    state_dict = old_model.state_dict()
    checkpoint = dict(meta=meta, state_dict=dict(state_dict))
    hook = ClassifierGrowthHook(TARGET)
    hook.after_load_checkpoint(
        _runner(MODELS.build(_model_cfg(len(TARGET)))), checkpoint)
    assert list(checkpoint['state_dict']) == list(state_dict)
    for key, value in checkpoint['state_dict'].items():
        assert value is state_dict[key]


def test_foreign_classes_are_refused(old_model):
    checkpoint = dict(
        meta=dict(dataset_meta=dict(classes=SOURCE)),
        state_dict=old_model.state_dict())
    hook = ClassifierGrowthHook(['background', 'cat', 'cow', 'bus', 'car'])
    with pytest.raises(
            IncrementalConfigError,
            match=r"has the classes \['dog'\].*use a checkpoint of the step"):
        hook.after_load_checkpoint(_runner(old_model), checkpoint)


def test_fewer_rows_than_names(old_model):
    checkpoint = dict(
        meta=dict(dataset_meta=dict(classes=SOURCE[:3])),
        state_dict=old_model.state_dict())
    with pytest.raises(
            IncrementalConfigError, match='has 4 rows, .* names 3 classes'):
        ClassifierGrowthHook(TARGET).after_load_checkpoint(
            _runner(MODELS.build(_model_cfg(len(TARGET)))), checkpoint)
