import numpy as np
import pytest
import torch
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models.losses import (FeatureDistillationLoss,
                                             StepOutputs)

# Levels of a backbone; B is 1 in the last.
SHAPES = [(2, 3, 4, 5), (2, 5, 2, 3), (1, 2, 1, 1)]


def draw(shape: tuple, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def outputs(seed: int) -> StepOutputs:
    return StepOutputs(features=tuple(draw(shape, seed) for shape in SHAPES))


@pytest.mark.parametrize('level', [0, 1, 2, -1, -3])
def test_equals_formula(level):
    student, teacher = outputs(0), outputs(1)
    feature = student.features[level].requires_grad_()
    loss = FeatureDistillationLoss(level=level)(student, teacher)
    loss.backward()
    new, old = feature.tolist(), teacher.features[level].tolist()
    squares = [(a - b)**2
               for a, b in zip(np.array(new).flat,
                               np.array(old).flat)]
    assert loss.shape == () and loss.dtype == torch.float64
    assert loss.item() == pytest.approx(
        100 * sum(squares) / len(squares), rel=1e-9)
    np.testing.assert_allclose(
        feature.grad,
        100 * 2 * (np.array(new) - np.array(old)) / len(squares),
        rtol=1e-9)


def test_gradcheck():
    teacher = outputs(1)
    loss = FeatureDistillationLoss(level=1)
    assert torch.autograd.gradcheck(
        lambda f: loss(StepOutputs(features=(None, f, None)), teacher),
        draw(SHAPES[1]).requires_grad_())


def test_module():
    loss = MODELS.build(dict(type='FeatureDistillationLoss'))
    assert type(loss) is FeatureDistillationLoss
    assert loss.loss_name == 'loss_feature' and loss.reads == ('features', )
    weighted = MODELS.build(
        dict(
            type='FeatureDistillationLoss',
            loss_weight=.5,
            loss_name='loss_l2'))
    assert weighted.loss_name == 'loss_l2'
    assert 'loss_weight=0.5' in repr(weighted)
    student, teacher = outputs(0), outputs(1)
    torch.testing.assert_close(
        weighted(student, teacher),
        loss(student, teacher) / 200)


def test_refuses_loss_weight():
    with pytest.raises(IncrementalConfigError, match="'loss_feature' is -1"):
        FeatureDistillationLoss(loss_weight=-1)


@pytest.mark.parametrize('level', [1, 7, -2])
def test_refuses_unknown_level(level):
    features = StepOutputs(features=(draw((1, 2, 3, 3)), ))
    loss = FeatureDistillationLoss(level=level)
    with pytest.raises(
            IncrementalConfigError,
            match=f'level={level}, but the network has 1 features; choose '
            'from -1 to 0'):
        loss(features, features)


def test_equal_features_have_no_loss():
    feature = draw(SHAPES[0]).requires_grad_()
    loss = FeatureDistillationLoss()(StepOutputs(features=(feature, )),
                                     StepOutputs(features=(draw(SHAPES[0]), )))
    loss.backward()
    assert loss == 0 and torch.all(feature.grad == 0)


def test_teacher_may_run_in_inference_mode_or_with_gradient():
    student, expected = outputs(0), outputs(1)
    with torch.inference_mode():
        frozen = outputs(1)
    trained = outputs(1)
    trained.features[-1].requires_grad_()
    student.features[-1].requires_grad_()
    loss = FeatureDistillationLoss()
    value = loss(student, expected)
    for teacher in (frozen, trained):
        repeated = loss(student, teacher)
        assert torch.equal(repeated, value)
        repeated.backward()
    assert trained.features[-1].grad is None


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    """Squares of 300 and sums of many of them are beyond float16."""
    new = (1e4 * draw((2, 8, 16, 16))).to(dtype).requires_grad_()
    old = (1e4 * draw((2, 8, 16, 16), seed=1)).to(dtype)
    student, teacher = (StepOutputs(features=(f, )) for f in (new, old))
    loss = FeatureDistillationLoss(loss_weight=1e-8)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(student, teacher)
    value.backward()
    assert value.dtype == torch.float32 and new.grad.dtype == dtype
    assert value.isfinite() and new.grad.isfinite().all()
    expected = (new.detach().double() - old.double()).square().mean() * 1e-8
    torch.testing.assert_close(value, expected.float())


@pytest.mark.parametrize('level', ['last', 0.0, None, True])
def test_refuses_level(level):
    with pytest.raises(
            IncrementalConfigError, match='level=.* is no position; set it'):
        FeatureDistillationLoss(level=level)
