import math

import pytest
import torch

from mmseg_incremental.models import CLASSIFIER_INITS
from mmseg_incremental.models.classifier_init import init_new_rows


@pytest.fixture
def classifier():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, 1, 1, generator=generator, dtype=torch.float64)
    bias = torch.randn(6, generator=generator, dtype=torch.float64)
    return weight, bias


def test_names():
    assert sorted(
        CLASSIFIER_INITS.module_dict) == ['background', 'random', 'zeros']


@pytest.mark.parametrize('new_rows', [[4, 5], [2], [1, 3, 5]])
@pytest.mark.parametrize('with_bias', [True, False])
@pytest.mark.parametrize('name', ['background', 'random', 'zeros'])
def test_rows_that_change(name, with_bias, new_rows, classifier):
    weight, bias = classifier
    old_weight, old_bias = weight.clone(), bias.clone()
    new = torch.tensor(new_rows)
    init_new_rows(name, weight, bias if with_bias else None, new)
    kept = [i for i in range(6) if i not in new_rows]
    assert torch.equal(weight[kept], old_weight[kept])
    expected = dict(
        background=old_weight[:1].expand_as(weight[new]),
        random=old_weight[new],
        zeros=torch.zeros_like(weight[new]))
    assert torch.equal(weight[new], expected[name])

    expected_bias = old_bias.clone()
    if with_bias and name == 'zeros':
        expected_bias[new] = 0
    elif with_bias and name == 'background':
        expected_bias[[0, *new_rows]] = old_bias[0] - math.log(len(new) + 1)
    torch.testing.assert_close(bias, expected_bias, rtol=0, atol=1e-15)


@pytest.mark.parametrize('new_rows', [[5], [3, 4, 5], [1, 2, 3, 4, 5]])
def test_background_shares_its_probability(new_rows, classifier):
    weight, bias = classifier
    feature = torch.randn(4, 100, dtype=torch.float64)
    old = (weight[0, :, 0, 0] @ feature) + bias[0]
    init_new_rows('background', weight, bias, torch.tensor(new_rows))
    logits = weight[:, :, 0, 0] @ feature + bias[:, None]
    shared = logits[[0, *new_rows]]
    torch.testing.assert_close(
        shared.exp().sum(dim=0), old.exp(), rtol=1e-12, atol=0)
    # Each of them has the same part of it.
    torch.testing.assert_close(
        shared, shared[:1].expand_as(shared), rtol=1e-12, atol=0)


def test_parameters_in_training_may_be_initialised(classifier):
    weight, bias = (torch.nn.Parameter(value) for value in classifier)
    init_new_rows('background', weight, bias, torch.tensor([5]))
    assert torch.equal(weight[5], weight[0])
    assert weight.grad_fn is None and bias.grad_fn is None
