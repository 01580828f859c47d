import re
import runpy
from pathlib import Path

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_incremental.engine import run_steps
from mmseg_incremental.models import losses
from mmseg_incremental.models.losses import StepOutputs

README = Path(losses.__file__).with_name('README.md')
_RUN = runpy.run_path(str(Path(__file__).parents[2] / 'tiny_run.py'))
shapes_root, tiny_cfg = _RUN['shapes_root'], _RUN['tiny_cfg']


@pytest.fixture(autouse=True)
def added():
    """Run the README's Python blocks; unregister their classes afterwards."""
    blocks = re.findall(
        r'^```python\n(.*?)^```$', README.read_text(), flags=re.M | re.S)
    registered = set(MODELS.module_dict)
    for block in blocks:
        exec(compile(block, str(README), 'exec'), {})
    names = set(MODELS.module_dict) - registered
    yield names
    for name in names:
        del MODELS.module_dict[name]


def test_both_are_registered(added):
    assert added == {'FocalCrossEntropyLoss', 'FeatureMSELoss'}


def test_classification_loss():
    loss = MODELS.build(
        dict(type='FocalCrossEntropyLoss', gamma=3.0, loss_weight=2.0))
    logits = torch.randn(1, 3, 1, 4, dtype=torch.float64, requires_grad=True)
    labels, weight = torch.tensor([[[0, 2, 255, 1]]]), torch.arange(1., 5.)
    value = loss(logits, labels, weight=weight.view(1, 1, 4))
    expected = 0.
    for pixel, label in enumerate([0, 2, 255, 1]):
        if label != 255:
            prob = logits[0, :, 0, pixel].softmax(dim=0)[label]
            expected += weight[pixel] * (1 - prob)**3 * -prob.log()
    torch.testing.assert_close(value, 2 * expected / 4)
    gradients = [
        torch.autograd.grad(v, logits, retain_graph=True)[0]
        for v in (value, 2 * expected / 4)
    ]
    torch.testing.assert_close(*gradients)


def test_classification_loss_of_a_method(tiny_cfg, tmp_path):
    cfg = tiny_cfg(
        tmp_path, 'finetune', **{
            'method.classification': dict(type='FocalCrossEntropyLoss'),
            'num_panel_images': 0
        })
    run_steps(cfg, steps=[0, 1])
    log, = (tmp_path / 'step_1').glob('*/*.log')
    assert 'decode.loss_focal: ' in log.read_text()


def test_distillation_loss():
    loss = MODELS.build(
        dict(type='FeatureMSELoss', level=-2, loss_weight=10.0))
    assert loss.reads == ('features', )
    assert loss.loss_name == 'loss_mse'

    feature = torch.tensor([[[[1., 2.], [3., 4.]]]], requires_grad=True)
    student = StepOutputs(features=(feature, torch.zeros(1)))
    with torch.inference_mode():
        teacher = StepOutputs(
            features=(torch.zeros(1, 1, 2, 2), torch.zeros(1)))
    value = loss(student, teacher)
    torch.testing.assert_close(value, torch.tensor(10. * 30. / 4.))
    value.backward()
    torch.testing.assert_close(feature.grad, 10. * 2. * feature.detach() / 4.)


def test_named_files_and_functions_exist():
    rows = re.findall(
        r'^\| `(\w+\.py)` \|(.*)$', README.read_text(), flags=re.M)
    assert rows
    for file, contents in rows:
        assert README.with_name(file).is_file()
        names = re.findall(r'`(\w+)`', contents)
        assert names and set(names) <= set(losses.__all__)
    folder = {path.name for path in README.parent.glob('*.py')}
    first = re.findall(r'^\| (.*?) \|', README.read_text(), flags=re.M)
    listed = {name for cell in first for name in re.findall(r'\w+\.py', cell)}
    assert listed == folder - {'__init__.py'}
