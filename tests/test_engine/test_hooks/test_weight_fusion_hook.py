import copy
import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.runner import get_priority
from mmseg.registry import HOOKS

from mmseg_incremental.engine.hooks import StepCheckpointHook, WeightFusionHook
from mmseg_incremental.errors import IncrementalConfigError


@pytest.fixture
def before(tmp_path):
    """Checkpoint of the step before, with 3 classes."""
    path = str(tmp_path / 'final.pth')
    torch.save(
        dict(
            meta={},
            state_dict={
                'bn.running_mean': torch.tensor([2.]),
                'bn.num_batches_tracked': torch.tensor(5),
                'conv_seg.weight': torch.zeros(3, 1)
            }), path)
    return path


@pytest.fixture
def runner():
    return SimpleNamespace(logger=logging.getLogger('fusion'))


def _hook(checkpoint):
    return HOOKS.build(
        dict(
            type='WeightFusionHook',
            fusion=dict(type='EndpointsWeightFusion'),
            checkpoint=checkpoint,
            num_old=3,
            num_seen=4))


def _checkpoint():
    return dict(
        meta={},
        state_dict={
            'bn.running_mean': torch.tensor([4.]),
            'bn.num_batches_tracked': torch.tensor(9),
            'conv_seg.weight': torch.ones(4, 1)
        })


def test_unreadable_checkpoint_is_found_before_training(tmp_path, runner):
    path = tmp_path / 'final.pth'
    path.write_bytes(b'broken')
    with pytest.raises(IncrementalConfigError, match='cannot be read'):
        _hook(str(path)).before_train(runner)


def test_final_checkpoint_is_fused(before, runner, caplog):
    hook = _hook(before)
    assert type(hook) is WeightFusionHook
    hook.after_train(runner)
    checkpoint = _checkpoint()
    trained = checkpoint['state_dict']
    untouched = copy.deepcopy(trained)
    with caplog.at_level(logging.INFO, 'fusion'):
        hook.before_save_checkpoint(runner, checkpoint)
    # a = sqrt(1 / 4)
    assert {
        k: v.tolist()
        for k, v in checkpoint['state_dict'].items()
    } == {
        'bn.running_mean': [3.],
        'bn.num_batches_tracked': 9,
        'conv_seg.weight': [[.5]] * 3 + [[1.]]
    }
    assert (f'EndpointsWeightFusion: 2 tensors fused with {before}'
            in caplog.messages)
    # The weights of the model itself may be among them.
    for key, value in trained.items():
        assert torch.equal(value, untouched[key])


def test_checkpoints_inside_the_step_are_not(runner):
    hook = _hook('is_not_read.pth')
    checkpoint = _checkpoint()
    hook.before_save_checkpoint(runner, checkpoint)
    for key, value in _checkpoint()['state_dict'].items():
        assert torch.equal(checkpoint['state_dict'][key], value)


def test_missing_file_is_refused(runner, tmp_path):
    hook = _hook(str(tmp_path / 'none.pth'))
    hook.after_train(runner)
    with pytest.raises(
            IncrementalConfigError,
            match='the step before .*none.pth does not exist'):
        hook.before_save_checkpoint(runner, _checkpoint())


def test_runs_between_ema_and_the_final_checkpoint():
    """EMA swaps its weights in, and the final checkpoint is fused."""
    order = [
        get_priority(hook.priority)
        for hook in (EMAHook, WeightFusionHook, StepCheckpointHook)
    ]
    assert order == sorted(order) and len(set(order)) == 3
