import logging
import runpy
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import EMAHook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, get_priority
from mmseg.registry import HOOKS, MODELS
from torch import nn
from torch.utils.data import Dataset

from mmseg_incremental.engine.hooks import (StepCheckpointHook,
                                            WeightRegularizerHook)
from mmseg_incremental.engine.hooks.weight_regularizer_hook import STATE_KEY
from mmseg_incremental.errors import IncrementalConfigError

TOGETHER = Path(__file__).parents[2] / 'together.py'
EWC = dict(type='ElasticWeightConsolidation', alpha=1.0, loss_weight=3.0)
PI = dict(type='PathIntegral', loss_weight=2.0)
RW = dict(type='RiemannianWalk', interval=2, loss_weight=1.0)
LEARNING_RATE = 0.01


class Model(BaseModel):
    """A classifier of so many rows over features that do not learn."""

    def __init__(self, rows=2):
        super().__init__()
        generator = torch.Generator().manual_seed(rows)
        self.classifier = nn.Linear(3, rows)
        self.frozen = nn.Parameter(torch.ones(3), requires_grad=False)
        with torch.no_grad():
            for param in self.classifier.parameters():
                param.copy_(torch.randn(param.shape, generator=generator))

    def forward(self, inputs, mode='loss'):
        outputs = self.classifier(self.frozen * inputs)
        return dict(loss=outputs.square().sum() + outputs.logsumexp(-1).sum())


class Inputs(Dataset):

    def __len__(self):
        return 8

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return dict(inputs=torch.randn(3, generator=generator))


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


def fake_runner(work_dir,
                model=None,
                resume=False,
                wrapper=OptimWrapper,
                **kwargs):
    model = Model() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    wrapper = wrapper(optimizer=optimizer, **kwargs)
    wrapper.initialize_count_status(model, 0, 8)
    return SimpleNamespace(
        model=model,
        optim_wrapper=wrapper,
        work_dir=str(work_dir),
        message_hub=MessageHub('hub'),
        logger=logging.getLogger('regularizer'),
        iter=0,
        _resume=resume)


def build_hook(*regularizers, **kwargs):
    return HOOKS.build(
        dict(
            type='WeightRegularizerHook',
            regularizers=[ConfigDict(cfg) for cfg in regularizers],
            **kwargs))


def train(runner, hook, num_iters=4):
    hook.before_train(runner)
    for index in range(num_iters):
        runner.iter = index
        loss = runner.model(Inputs()[index]['inputs'])['loss']
        runner.optim_wrapper.update_params(loss)
        hook.after_train_iter(runner, index)


@pytest.fixture
def step_0(tmp_path):
    """Options of the hook after a step 0 of two classes."""
    folder = tmp_path / 'step_0'
    folder.mkdir()
    runner = fake_runner(folder)
    hook = build_hook(EWC, PI)
    train(runner, hook)
    hook.after_train(runner)
    anchor = str(folder / 'final.pth')
    torch.save(
        dict(
            meta={},
            state_dict={
                k: v.clone()
                for k, v in runner.model.state_dict().items()
            }), anchor)
    return dict(importance=str(folder / 'importance.pth'), anchor=anchor)


def test_importance_is_written(step_0):
    carried = torch.load(step_0['importance'], weights_only=True)
    assert sorted(carried) == ['ElasticWeightConsolidation', 'PathIntegral']
    assert not Path(f'{step_0["importance"]}.partial').exists()
    fisher = carried['ElasticWeightConsolidation']['fisher']
    assert sorted(fisher) == ['classifier.bias', 'classifier.weight']
    # With alpha 1 it is the square of the last gradient.
    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    for index in range(4):
        optimizer.zero_grad()
        model(Inputs()[index]['inputs'])['loss'].backward()
        optimizer.step()
    torch.testing.assert_close(fisher['classifier.weight'],
                               model.classifier.weight.grad**2)
    path = carried['PathIntegral']
    assert sorted(path) == ['iteration', 'omega', 'parts', 'settings']
    assert path['settings'] == dict(mode='official', damping=1e-20)


def test_losses_are_watched_and_penalties_added(step_0, tmp_path):
    """Each regularizer sees the gradients of the losses alone."""
    model, alone = Model(rows=3), Model(rows=3)
    runner = fake_runner(tmp_path, model)
    hook = build_hook(PI, EWC, **step_0)
    train(runner, hook, 1)
    alone(Inputs()[0]['inputs'])['loss'].backward()
    anchor = torch.load(step_0['anchor'])['state_dict']
    names = ['classifier.weight', 'classifier.bias']
    omegas = {
        name: hook.regularizers[name].quadratic.omega
        for name in ('ElasticWeightConsolidation', 'PathIntegral')
    }
    fisher = hook.regularizers['ElasticWeightConsolidation'].state['fisher']
    for index, name in enumerate(names):
        grad = alone.get_parameter(name).grad
        torch.testing.assert_close(fisher[index], grad**2)
        change = alone.get_parameter(name).detach().clone()
        change[:2] -= anchor[name]
        change[2] = 0
        weights = omegas['ElasticWeightConsolidation'][index], omegas[
            'PathIntegral'][index]
        assert all(w.max() > 0 and torch.all(w[2] == 0) for w in weights)
        expected = alone.get_parameter(name).detach() - LEARNING_RATE * (
            grad + 2 * (3 * weights[0] + 2 * weights[1]) * change)
        torch.testing.assert_close(model.get_parameter(name).data, expected)


@pytest.mark.parametrize('max_norm', [None, 0.1])
def test_accumulated_gradients_are_seen_once(tmp_path, max_norm):
    """As the optimizer uses them: the mean of two, and clipped."""
    clip_grad = dict(max_norm=max_norm) if max_norm else None
    runner = fake_runner(tmp_path, accumulative_counts=2, clip_grad=clip_grad)
    hook = build_hook(EWC)
    seen = []
    regularizer = hook.regularizers['ElasticWeightConsolidation']
    observe = regularizer.observe

    def keep(grads):
        seen.append([grad.clone() for grad in grads])
        observe(grads)

    regularizer.observe = keep
    train(runner, hook, 4)
    assert regularizer.iteration == len(seen) == 2

    model = Model()
    losses = [model(Inputs()[index]['inputs'])['loss'] for index in (0, 1)]
    (sum(losses) / 2).backward()
    if max_norm:
        nn.utils.clip_grad_norm_(model.classifier.parameters(), max_norm)
    for grad, param in zip(seen[0], model.classifier.parameters()):
        torch.testing.assert_close(grad, param.grad)


def test_gradients_of_mixed_precision_are_unscaled(tmp_path):
    runner = fake_runner(tmp_path)
    hook = build_hook(EWC)
    hook.before_train(runner)
    optimizer = runner.optim_wrapper.optimizer
    scaler = torch.amp.GradScaler('cpu', init_scale=1024.)
    regularizer = hook.regularizers['ElasticWeightConsolidation']

    def step(factor):
        optimizer.zero_grad()
        loss = runner.model(factor * Inputs()[0]['inputs'])['loss']
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    step(1.)
    model = Model()
    model(Inputs()[0]['inputs'])['loss'].backward()
    fisher = [f.clone() for f in regularizer.state['fisher']]
    for value, param in zip(fisher, model.classifier.parameters()):
        torch.testing.assert_close(value, param.grad**2)
    # An overflow is not used, and not watched either.
    step(1e30)
    assert regularizer.iteration == 1
    for value, before in zip(regularizer.state['fisher'], fisher):
        assert torch.equal(value, before)


def test_amp_wrapper_with_all_it_does(step_0, tmp_path, monkeypatch):
    """Unscaled, averaged and clipped; the penalty comes after all of it."""
    module = 'mmengine.optim.optimizer.amp_optimizer_wrapper.'
    monkeypatch.setattr(f'{module}is_cuda_available', lambda: True)
    monkeypatch.setattr(f'{module}GradScaler',
                        partial(torch.amp.GradScaler, 'cpu'))
    model, alone = Model(rows=3), Model(rows=3)
    runner = fake_runner(
        tmp_path,
        model,
        wrapper=AmpOptimWrapper,
        loss_scale=1024.,
        accumulative_counts=2,
        clip_grad=dict(max_norm=0.1))
    hook = build_hook(EWC, **step_0)
    train(runner, hook, 2)
    losses = [alone(Inputs()[index]['inputs'])['loss'] for index in (0, 1)]
    (sum(losses) / 2).backward()
    nn.utils.clip_grad_norm_(alone.classifier.parameters(), 0.1)
    anchor = torch.load(step_0['anchor'])['state_dict']
    regularizer, = hook.regularizers.values()
    for index, name in enumerate(regularizer.names):
        param = alone.get_parameter(name)
        torch.testing.assert_close(regularizer.state['fisher'][index],
                                   param.grad**2)
        change = param.detach().clone()
        change[:2] -= anchor[name]
        expected = param.detach() - LEARNING_RATE * (
            param.grad + 2 * 3 * regularizer.quadratic.omega[index] * change)
        torch.testing.assert_close(model.get_parameter(name).data, expected)


def test_weight_0_equals_no_hook_to_the_bit(step_0, tmp_path):
    runner, alone = (fake_runner(tmp_path, Model(rows=3)) for _ in range(2))
    train(runner, build_hook(dict(EWC, loss_weight=0), **step_0))
    for index in range(4):
        alone.optim_wrapper.update_params(
            alone.model(Inputs()[index]['inputs'])['loss'])
    for param, expected in zip(runner.model.parameters(),
                               alone.model.parameters()):
        assert torch.equal(param, expected)


def test_nothing_is_watched_after_training(tmp_path):
    runner = fake_runner(tmp_path)
    hook = build_hook(EWC)
    train(runner, hook, 2)
    hook.after_train(runner)
    runner.optim_wrapper.update_params(
        runner.model(Inputs()[0]['inputs'])['loss'])
    assert hook.regularizers['ElasticWeightConsolidation'].iteration == 2


def test_penalties_are_logged(step_0, tmp_path, monkeypatch):
    monkeypatch.setattr(
        'mmseg_incremental.engine.hooks.weight_regularizer_hook.LOG_INTERVAL',
        2)
    runner = fake_runner(tmp_path, Model(rows=3))
    hook = build_hook(EWC, PI, **step_0)
    train(runner, hook)
    scalars = runner.message_hub.log_scalars
    for name, regularizer in hook.regularizers.items():
        history = scalars[f'train/penalty_{name}']
        assert len(history.data[0]) == 2
        assert history.current() == pytest.approx(regularizer.penalty())
        assert history.current() > 0


def save(runner, *hooks):
    checkpoint = dict(
        meta={}, state_dict={}, message_hub=dict(runtime_info={}))
    for hook in hooks:
        hook.before_save_checkpoint(runner, checkpoint)
    return checkpoint


def test_only_the_final_checkpoint_goes_without_the_state(tmp_path):
    runner, hook = fake_runner(tmp_path), build_hook(EWC, RW)
    train(runner, hook, 3)
    saver = StepCheckpointHook(step=0, method='ewc', scenario={})
    saver.training = True
    state = save(runner, hook, saver)[STATE_KEY]
    assert sorted(state) == ['ElasticWeightConsolidation', 'RiemannianWalk']
    assert sorted(state['RiemannianWalk']) == [
        'fisher', 'iteration', 'parts', 'path', 'previous', 'score'
    ]
    hook.after_train(runner)
    saver.finishing = True
    assert sorted(save(runner, hook, saver)) == ['meta', 'state_dict']


def test_file_is_there_before_the_final_checkpoint():
    order = [
        get_priority(hook.priority)
        for hook in (EMAHook, WeightRegularizerHook, StepCheckpointHook)
    ]
    assert order == sorted(order) and len(set(order)) == 3


def run(work_dir, hook_cfg, resume=False, max_iters=6):
    """A Runner with a checkpoint after four of six iterations."""
    runner = Runner(
        model=Model(rows=3),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=1,
            dataset=Inputs(),
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate')),
        train_cfg=dict(by_epoch=False, max_iters=max_iters),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=LEARNING_RATE, momentum=0.9)),
        default_hooks=dict(
            checkpoint=dict(
                type='CheckpointHook',
                by_epoch=False,
                interval=4,
                save_last=False)),
        custom_hooks=[hook_cfg],
        resume=resume,
        default_scope='mmseg',
        log_level='ERROR',
        experiment_name=f'{work_dir.name}_{resume}')
    runner.train()
    return runner.model.state_dict()


def test_resumed_run_equals_uninterrupted_one(step_0, tmp_path):
    hook_cfg = dict(
        type='WeightRegularizerHook', regularizers=[EWC, PI], **step_0)
    expected = run(tmp_path / 'whole', hook_cfg)
    work_dir = tmp_path / 'stopped'
    run(work_dir, hook_cfg, max_iters=4)
    (work_dir / 'importance.pth').unlink()
    resumed = run(work_dir, hook_cfg, resume=True)
    for key, value in expected.items():
        assert torch.equal(resumed[key], value), key
    states = [
        torch.load(tmp_path / name / 'importance.pth')
        for name in ('whole', 'stopped')
    ]
    for name, buffers in states[0].items():
        assert buffers.pop('iteration') == states[1][name]['iteration'] == 6
        assert buffers.pop('settings') == states[1][name]['settings']
        for key, values in buffers.items():
            for param, value in values.items():
                assert torch.equal(states[1][name][key][param], value)


def test_weights_of_another_run_bring_no_state(step_0, tmp_path):
    """A step may start from a checkpoint inside another one."""
    hook, state = build_hook(EWC), {EWC['type']: 1}
    for resume in (False, True):
        runner = fake_runner(tmp_path, resume=resume)
        hook.after_load_checkpoint(runner, {STATE_KEY: state})
        assert hook.resumed == (state if resume else None)
    for other in ({}, {STATE_KEY: dict(a=1)}):
        with pytest.raises(
                IncrementalConfigError,
                match='no state of ElasticWeightConsolidation; resume with'):
            hook.after_load_checkpoint(runner, other)


def test_missing_importance_is_refused(step_0, tmp_path):
    path = str(tmp_path / 'none.pth')
    runner = fake_runner(tmp_path, Model(rows=3))
    hook = build_hook(EWC, importance=path, anchor=step_0['anchor'])
    with pytest.raises(
            IncrementalConfigError,
            match='none.pth does not exist, so that ElasticWeight'):
        hook.before_train(runner)
    # Where nothing is to be protected there is nothing to miss.
    idle = dict(EWC, loss_weight=0.0), dict(RW, loss_weight=0.0)
    hook = build_hook(*idle, importance=path, anchor=step_0['anchor'])
    train(runner, hook, 1)
    assert all(r.quadratic is None for r in hook.regularizers.values())
    hook = build_hook(*idle, **step_0)
    hook.before_train(runner)
    ewc, rw = hook.regularizers.values()
    assert ewc.quadratic is not None and rw.quadratic is None


def test_share_of_important_weights_is_logged(step_0, tmp_path, caplog):
    runner = fake_runner(tmp_path, Model(rows=3))
    hook = build_hook(EWC, **step_0)
    with caplog.at_level(logging.INFO):
        hook.before_train(runner)
    regularizer, = hook.regularizers.values()
    values = torch.cat(
        [omega.flatten() for omega in regularizer.quadratic.omega])
    share = (values > 0.01).double().mean().item()
    assert 0 < share < 1
    assert regularizer.quadratic.important_share() == pytest.approx(share)
    assert f'ElasticWeightConsolidation: {share:.2%} of the' in caplog.text


def test_regularizer_listed_twice_is_refused():
    with pytest.raises(IncrementalConfigError, match='Consolidation twice'):
        build_hook(EWC, EWC)


def test_fused_optimizer_under_amp_is_refused(tmp_path, monkeypatch):
    runner = fake_runner(tmp_path)
    monkeypatch.setattr(
        'mmseg_incremental.engine.regularizers.AmpOptimWrapper', OptimWrapper)
    runner.optim_wrapper.optimizer._step_supports_amp_scaling = True
    with pytest.raises(IncrementalConfigError, match='fused=True unscales'):
        build_hook(EWC).before_train(runner)


def test_importance_of_another_method_is_refused(step_0, tmp_path):
    hook = build_hook(EWC, RW, **step_0)
    with pytest.raises(
            IncrementalConfigError,
            match='importance.pth holds the importance of .*PathIntegral, '
            'but not of RiemannianWalk; train'):
        hook.before_train(fake_runner(tmp_path, Model(rows=3)))


def test_importance_of_another_model_is_refused(step_0, tmp_path):
    model = Model(rows=3)
    model.classifier = nn.Linear(4, 3)
    hook = build_hook(EWC, **step_0)
    with pytest.raises(
            IncrementalConfigError, match='nothing of classifier.weight'):
        hook.before_train(fake_runner(tmp_path, model))


def test_several_optimizers_are_refused(tmp_path):
    runner = fake_runner(tmp_path)
    runner.optim_wrapper = OptimWrapperDict(all=runner.optim_wrapper)
    with pytest.raises(
            IncrementalConfigError,
            match='ElasticWeightConsolidation cannot watch several optimizers'
    ):
        build_hook(EWC).before_train(runner)


def test_wrapped_model_has_the_names_of_the_model(tmp_path):
    runner, hook = fake_runner(tmp_path), build_hook(EWC)
    runner.model = nn.parallel.DataParallel(runner.model)
    hook.before_train(runner)
    assert hook.regularizers['ElasticWeightConsolidation'].names == [
        'classifier.weight', 'classifier.bias'
    ]


def watch_as_rank(rank, work_dir):
    """State of all regularizers after a step on every second input."""
    runner = fake_runner(work_dir)
    runner.model = nn.parallel.DistributedDataParallel(runner.model)
    hook = build_hook(EWC, PI, RW)
    hook.before_train(runner)
    for index in range(rank, 8, 2):
        loss = runner.model(Inputs()[index]['inputs'])['loss']
        runner.optim_wrapper.update_params(loss)
    hook.after_train(runner)
    return as_lists(hook)


def as_lists(hook):
    return {
        name: {
            key: {
                param: tensor.tolist()
                for param, tensor in value.items()
            }
            for key, value in regularizer.state_dict().items()
            if key in regularizer.state
        }
        for name, regularizer in hook.regularizers.items()
    }


def test_ranks_have_the_same_importance(tmp_path):
    """That of a single process which sees the inputs of both."""
    run_as_ranks = runpy.run_path(str(TOGETHER))['run_as_ranks']
    first, second = run_as_ranks(watch_as_rank, tmp_path / 'store', tmp_path)
    assert first == second
    runner, hook = fake_runner(tmp_path), build_hook(EWC, PI, RW)
    hook.before_train(runner)
    for index in range(0, 8, 2):
        losses = [
            runner.model(Inputs()[i]['inputs'])['loss']
            for i in (index, index + 1)
        ]
        runner.optim_wrapper.update_params(sum(losses) / 2)
    hook.after_train(runner)
    alone = as_lists(hook)
    assert alone.keys() == first.keys() and len(alone) == 3
    for name, state in alone.items():
        assert state.keys() == first[name].keys() and state
        for key, params in state.items():
            for param, value in params.items():
                torch.testing.assert_close(
                    torch.tensor(first[name][key][param]),
                    torch.tensor(value),
                    rtol=1e-4,
                    atol=1e-6)


def test_no_penalty_where_the_step_starts(tmp_path):
    """MiB's initialisation moves the background, and the anchor with it."""
    head = dict(
        type='FCNHead',
        in_channels=32,
        in_index=3,
        channels=4,
        num_convs=1,
        norm_cfg=dict(type='BN'))
    cfg = dict(
        type='IncrementalEncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor', size=(32, 32)),
        backbone=dict(
            type='ResNetV1c', depth=18, base_channels=4, stem_channels=4),
        classifier_init='background')
    old = MODELS.build(dict(cfg, decode_head=dict(head, num_classes=3)))
    new = MODELS.build(dict(cfg, decode_head=dict(head, num_classes=5)))
    nn.init.constant_(old.decode_head.conv_seg.bias, 0.5)
    regularizer = dict(EWC, alpha=0.5)
    hook = build_hook(regularizer)
    (tmp_path / 'step_0').mkdir()
    runner = fake_runner(tmp_path / 'step_0', old)
    hook.before_train(runner)
    for param in old.parameters():
        # The first row, the background's, is the most important one.
        param.grad = torch.arange(param.numel(), 0, -1.0).view_as(param)
    hook.regularizers['ElasticWeightConsolidation'].watch()
    hook.after_train(runner)
    path = str(tmp_path / 'step_0' / 'final.pth')
    torch.save(dict(meta={}, state_dict=old.state_dict()), path)
    new.load_state_dict(torch.load(path)['state_dict'])
    hook = build_hook(
        regularizer,
        importance=str(tmp_path / 'step_0' / 'importance.pth'),
        anchor=path)
    hook.before_train(fake_runner(tmp_path, new))
    begun, = hook.regularizers.values()
    bias = begun.names.index('decode_head.conv_seg.bias')
    assert begun.quadratic.omega[bias][0] > 0
    assert new.decode_head.conv_seg.bias[0] < 0.5
    assert begun.penalty() == 0
    with torch.no_grad():
        new.decode_head.conv_seg.bias.copy_(torch.full((5, ), 0.5))
    assert begun.penalty() > 0
