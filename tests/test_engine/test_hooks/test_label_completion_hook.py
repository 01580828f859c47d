import json
import logging
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import RepeatDataset
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, get_priority
from mmseg.registry import HOOKS
from torch import nn
from torch.utils.data import Dataset

from mmseg_incremental.engine.hooks import (LabelCompletionHook,
                                            TeacherSnapshotHook)
from mmseg_incremental.models import EntropyPseudoLabels

NUM_IMAGES = 7


class Images(Dataset):
    """Logits of a teacher in place of images, drawn by augmentations."""

    def __len__(self):
        return NUM_IMAGES

    def __getitem__(self, index):
        random.random(), np.random.rand(), torch.rand(1)
        generator = torch.Generator().manual_seed(index)
        return dict(
            inputs=torch.randn((3, 4, 4), generator=generator),
            data_samples=torch.randint(5, (4, 4), generator=generator))


class Model(nn.Module):
    """What the hook needs of a segmentor."""

    def __init__(self, completer):
        super().__init__()
        self.label_completion = completer
        self.num_seen = 0

    def data_preprocessor(self, data, training):
        assert training
        return dict(
            inputs=torch.stack(data['inputs']),
            data_samples=torch.stack(data['data_samples']))

    def observe_labels(self, inputs, data_samples):
        assert not torch.is_grad_enabled()
        self.num_seen += len(inputs)
        self.label_completion.observe(data_samples, inputs)


@pytest.fixture
def build_runner(tmp_path):
    """A runner whose own loader is of no use for the pass."""

    def build(resume=False, wrapped=False, completer=None):
        init_default_scope('mmseg')
        model = Model(completer or EntropyPseudoLabels(5, mode='paper'))
        loader = dict(
            batch_size=2,
            num_workers=0,
            drop_last=True,
            dataset=dict(type='NotToBeBuilt'),
            sampler=dict(type='InfiniteSampler', shuffle=True))
        return SimpleNamespace(
            model=nn.parallel.DataParallel(model) if wrapped else model,
            cfg=Config(dict(train_dataloader=loader)),
            train_dataloader=SimpleNamespace(dataset=Images()),
            build_dataloader=Runner.build_dataloader,
            optim_wrapper=OptimWrapper(
                torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)),
            seed=0,
            work_dir=str(tmp_path),
            logger=logging.getLogger('completion'),
            _resume=resume)

    return build


def run(runner):
    hook = HOOKS.build(dict(type='LabelCompletionHook'))
    assert type(hook) is LabelCompletionHook
    hook.before_train(runner)
    model = runner.model
    return model.module if isinstance(model, nn.DataParallel) else model


def expected_thresholds():
    completer = EntropyPseudoLabels(5, mode='paper')
    samples = [Images()[index] for index in range(NUM_IMAGES)]
    completer.observe(*(torch.stack([s[key] for s in samples])
                        for key in ('data_samples', 'inputs')))
    completer.finish()
    return completer.thresholds


@pytest.mark.parametrize('wrapped', [False, True])
def test_every_image_is_seen_once(build_runner, tmp_path, wrapped, caplog):
    with caplog.at_level(logging.INFO, 'completion'):
        model = run(build_runner(wrapped=wrapped))
    assert model.num_seen == NUM_IMAGES
    expected = expected_thresholds()
    assert expected.min() > 0
    assert torch.equal(model.label_completion.thresholds, expected)
    path, = tmp_path.iterdir()
    assert path.name == 'label_completion.json'
    assert json.loads(path.read_text()) == dict(
        mode='paper', thresholds=expected.tolist())
    assert f'Label completion: written to {path}' in caplog.messages


def test_resumed_run_does_not_look_again(build_runner, tmp_path, caplog):
    run(build_runner())
    path, = tmp_path.iterdir()
    # So that it is known where they come from.
    path.write_text('{"mode": "paper", "thresholds": [0.5, 0.25, 0.125]}')
    with caplog.at_level(logging.INFO, 'completion'):
        model = run(build_runner(resume=True))
    assert model.num_seen == 0
    assert model.label_completion.thresholds.tolist() == [.5, .25, .125]
    assert caplog.messages == [f'Label completion: read from {path}']


def test_other_ranks_get_what_the_first_one_reads(build_runner, tmp_path,
                                                  monkeypatch):
    """Its folder may be on no disk of theirs."""
    state = dict(mode='paper', thresholds=[.5, .25, .125])
    monkeypatch.setattr(
        'mmseg_incremental.engine.hooks.label_completion_hook.'
        'on_main_process', lambda function, path: state)
    model = run(build_runner(resume=True))
    assert model.num_seen == 0 and not list(tmp_path.iterdir())
    assert model.label_completion.thresholds.tolist() == [.5, .25, .125]


def test_resumed_run_that_was_stopped_before(build_runner, tmp_path):
    model = run(build_runner(resume=True))
    assert model.num_seen == NUM_IMAGES
    assert (tmp_path / 'label_completion.json').is_file()


def test_run_that_begins_anew_looks_again(build_runner, tmp_path):
    path = tmp_path / 'label_completion.json'
    path.write_text('{"mode": "paper", "thresholds": [9, 9, 9]}')
    model = run(build_runner())
    assert model.num_seen == NUM_IMAGES
    assert json.loads(
        path.read_text())['thresholds'] == expected_thresholds().tolist()


def test_random_numbers_go_on_as_before(build_runner):
    """Without workers, augmentations draw in the process of training."""

    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    numbers = []
    for with_pass in (True, False):
        random.seed(0), np.random.seed(0), torch.manual_seed(0)
        if with_pass:
            run(build_runner())
        numbers.append(draw())
    assert numbers[0] == numbers[1]


def test_completer_without_a_pass(build_runner, tmp_path):
    completer = SimpleNamespace(needs_pass=False)
    model = run(build_runner(completer=completer))
    assert model.num_seen == 0 and not list(tmp_path.iterdir())


def test_no_progress_bar_outside_a_terminal(build_runner, capsys):
    run(build_runner())
    captured = capsys.readouterr()
    assert captured.out == captured.err == ''


def test_progress_bar_in_a_terminal(build_runner, capsys, monkeypatch):
    monkeypatch.setattr('sys.stderr.isatty', lambda: True)
    run(build_runner())
    captured = capsys.readouterr()
    assert '4/4' in captured.err and captured.out == ''


def test_runs_after_the_teacher_is_set():
    assert get_priority(LabelCompletionHook.priority) > get_priority(
        TeacherSnapshotHook.priority)


def test_repeated_images_count_once(build_runner):
    runner = build_runner()
    repeated = RepeatDataset.__new__(RepeatDataset)
    repeated.dataset = runner.train_dataloader.dataset
    runner.train_dataloader.dataset = repeated
    LabelCompletionHook().before_train(runner)
    assert runner.model.num_seen == NUM_IMAGES


def test_pass_in_the_precision_of_training(build_runner):
    """Where the teacher would be more precise, the thresholds would differ."""
    runner = build_runner()
    seen = []
    observe = runner.model.observe_labels

    def spy(inputs, data_samples):
        product = torch.ones(1, 1) @ torch.ones(1, 1)
        seen.append(product.dtype == torch.bfloat16)
        observe(inputs, data_samples)

    runner.model.observe_labels = spy
    runner.optim_wrapper.optim_context = lambda model: torch.autocast('cpu')
    LabelCompletionHook().before_train(runner)
    assert seen and all(seen)
