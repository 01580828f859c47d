from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.logging import MessageHub
from mmengine.runner import get_priority
from mmseg.registry import HOOKS

SCENARIO = dict(num_classes=2, task='1-1')


class Runner:
    """What the hook reads of a runner."""

    def __init__(self, work_dir: str = '', hook: Any = None) -> None:
        self.message_hub = MessageHub('hub')
        dataset = BaseDataset(lazy_init=True)
        dataset._fully_initialized, dataset.data_bytes = True, []
        dataset.data_address = range(5)
        self.train_dataloader = SimpleNamespace(dataset=dataset)
        self.work_dir = work_dir
        self.hook = hook
        pipeline = [dict(type='LoadImageFromFile')]
        self.cfg = Config(
            dict(
                model=dict(
                    type='IncrementalEncoderDecoder',
                    backbone=dict(type='ResNet'),
                    decode_head=dict(type='FCNHead')),
                test_dataloader=dict(
                    dataset=dict(type='IncrementalDataset',
                                 pipeline=pipeline))))

    def save_checkpoint(self, folder, name, **kwargs):
        assert kwargs == dict(save_optimizer=False, save_param_scheduler=False)
        self.checkpoint = dict(
            meta={},
            state_dict=dict(a=torch.ones(1)),
            ema_state_dict={},
            message_hub=self.message_hub.state_dict())
        self.hook.before_save_checkpoint(self, self.checkpoint)
        torch.save(self.checkpoint, f'{folder}/{name}')


def build(**kwargs):
    return HOOKS.build(
        dict(
            type='StepCheckpointHook',
            step=1,
            method='mib',
            scenario=SCENARIO,
            **kwargs))


def save(hook, runner):
    checkpoint = dict(
        meta={},
        state_dict={},
        message_hub=runner.message_hub.state_dict(),
        ema_state_dict={})
    hook.before_save_checkpoint(runner, checkpoint)
    return checkpoint


def test_checkpoints_say_what_step_they_are():
    holdout = dict(fraction=0.2, seed=0)
    hook = build(pretrained_left_out='weights', holdout=ConfigDict(holdout))
    runner = Runner()
    hook.before_train(runner)
    checkpoint = save(hook, runner)
    assert checkpoint['meta']['incremental'] == dict(
        step=1,
        method='mib',
        scenario=SCENARIO,
        pretrained_left_out='weights',
        holdout=holdout,
        num_train_images=5)
    assert type(checkpoint['meta']['incremental']['holdout']) is dict
    assert 'ema_state_dict' in checkpoint and 'message_hub' in checkpoint


def test_config_types_are_left_behind():
    hook = HOOKS.build(
        ConfigDict(
            type='StepCheckpointHook',
            step=1,
            method='mib',
            scenario=dict(num_classes=2, task=(('a', ), ('b', )))))
    assert type(hook.info['scenario']) is dict
    assert hook.info['scenario']['task'] == [['a'], ['b']]


def test_nothing_is_added_outside_training():
    checkpoint = save(build(), Runner())
    assert checkpoint['meta'] == {}


def test_final_checkpoint(tmp_path):
    hook = build()
    runner = Runner(str(tmp_path), hook)
    hook.before_train(runner)
    hook.after_train(runner)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'deploy.py', 'final.pth'
    ]
    checkpoint = torch.load(tmp_path / 'final.pth', weights_only=True)
    assert sorted(checkpoint) == ['meta', 'state_dict']
    assert checkpoint['meta']['incremental']['num_train_images'] == 5
    assert not hook.finishing


def test_priority_is_between_ema_and_the_checkpoints_of_mmengine():
    hook = build()
    ema = HOOKS.build(dict(type='EMAHook'))
    saver = HOOKS.build(dict(type='CheckpointHook'))
    order = [get_priority(h.priority) for h in (ema, hook, saver)]
    assert order == sorted(order) and len(set(order)) == 3
