import re
import sys

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_incremental.engine import load_config, run_steps
from mmseg_incremental.models import CLASSIFIER_INITS

PAGE = 'mmseg_incremental/models/README.md'
PARTS = {'ConfidentPseudoLabels', 'MeanAbsoluteGradient', 'Halfway'}


@pytest.fixture
def written(tmp_path, read_blocks, monkeypatch):
    """The files of the page, in an empty directory that can be imported."""
    for block in read_blocks(PAGE, 'python'):
        name = re.match(r'# (\S+\.py)\n', block).group(1)
        (tmp_path / name).write_text(block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop('my_parts', None)
    for name in PARTS:
        MODELS.module_dict.pop(name, None)
    CLASSIFIER_INITS.module_dict.pop('mean', None)


def test_listed_files_exist(check_listed_files):
    check_listed_files(PAGE)


def test_added_method_is_run(written, tiny_shapes):
    cfg = load_config(
        'my_shapes_10-1.py', cfg_options=tiny_shapes, work_dir='work')
    assert PARTS <= set(MODELS.module_dict)
    results = run_steps(cfg)
    assert results['method'] == 'confident' and results['complete']
    for step in (0, 1):
        state, = torch.load(f'work/step_{step}/importance.pth').values()
        assert state['iteration'] == 2
        assert all(tensor.min() >= 0 for tensor in state['total'].values())


def test_completed_labels(written):
    completer = load_parts().ConfidentPseudoLabels(threshold=0.7)
    # Classes: background and one old one; 2 is new, 255 void.
    labels = torch.tensor([[[0, 0, 0, 2, 255]]])
    sure, unsure = [-3., 3.], [0., .1]
    logits = torch.tensor([sure, unsure, sure[::-1], sure, sure])
    completed = completer.complete(labels, logits.T[None, :, None]).labels
    assert completed.tolist() == [[[1, 0, 0, 2, 255]]]


def test_importance(written):
    regularizer = load_parts().MeanAbsoluteGradient(loss_weight=2.0)
    weight = torch.zeros(3, requires_grad=True)
    regularizer.start(dict(weight=weight))
    for grad in ([1., -2., 0.], [-1., 4., 1.]):
        weight.grad = torch.tensor(grad)
        regularizer.watch()
    state = regularizer.state_dict(carried_only=True)
    assert state['total']['weight'].tolist() == [2, 6, 1]
    regularizer.start(dict(weight=weight), state, dict(weight=torch.ones(3)))
    weight.grad = torch.zeros(3)
    regularizer.pull_back()
    torch.testing.assert_close(weight.grad,
                               2 * 2. * torch.tensor([-.2, -1., 0.]))


def test_new_rows(written):
    load_parts()
    weight = torch.tensor([[1., 2.], [3., 6.], [0., 0.], [9., 9.]])
    bias = torch.tensor([1., 2., 0., 0.])
    CLASSIFIER_INITS.get('mean')(weight, bias, torch.tensor([2, 3]))
    assert weight[2:].tolist() == [[2, 4], [2, 4]]
    assert bias.tolist() == [1, 2, 1.5, 1.5]


def test_fused_weights(written):
    before, after = dict(a=torch.zeros(2)), dict(a=torch.arange(3.))
    fused = load_parts().Halfway().fuse(before, after, 2, 3)
    assert fused['a'].tolist() == [0, .5, 2]


def load_parts():
    import my_parts
    return my_parts
