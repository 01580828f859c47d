import re
from pathlib import Path

import pytest
import torch
from mmseg.registry import MODELS

from mmseg_incremental.models import losses
from mmseg_incremental.models.losses import StepOutputs

README = Path(losses.__file__).with_name('README.md')


@pytest.fixture
def example():
    """Run the README's only Python block; unregister its class afterwards."""
    blocks = re.findall(
        r'^```python\n(.*?)^```$', README.read_text(), flags=re.M | re.S)
    assert len(blocks) == 1
    registered = set(MODELS.module_dict)
    namespace = {}
    exec(compile(blocks[0], str(README), 'exec'), namespace)
    added = set(MODELS.module_dict) - registered
    yield namespace, added
    for name in added:
        del MODELS.module_dict[name]


def test_example_is_built_and_run(example):
    _, added = example
    assert added == {'FeatureMSELoss'}
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
