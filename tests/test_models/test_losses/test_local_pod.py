import math

import numpy as np
import pytest
import torch
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models.losses import (LocalPODLoss, StepOutputs,
                                             local_pod)

# B, C, O, height and width of the logits
SHAPES = [
    (2, 3, 2, 4, 4),
    # Not square, and sides that no scale divides.
    (1, 4, 2, 5, 7),
    (2, 2, 1, 9, 4),
    # Smaller than a scale.
    (1, 3, 1, 3, 2),
    (1, 3, 3, 1, 6),
    (2, 3, 2, 1, 1),
]


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def slow_embedding(maps: list, scales: tuple) -> list:
    """Averages of the cells of one image: maps[channel][row][column]."""
    embedding = []
    height, width = len(maps[0]), len(maps[0][0])
    for scale in scales:
        rows, columns = min(scale, height), min(scale, width)
        cell_h, cell_w = height // rows, width // columns
        for i in range(rows):
            for j in range(columns):
                ys = range(i * cell_h, (i + 1) * cell_h)
                xs = range(j * cell_w, (j + 1) * cell_w)
                for values in maps:
                    for y in ys:
                        embedding.append(
                            sum(values[y][x]**2 for x in xs) / cell_w)
                    for x in xs:
                        embedding.append(
                            sum(values[y][x]**2 for y in ys) / cell_h)
    return embedding


def slow_distance(new: Tensor, old: Tensor, scales: tuple) -> Tensor:
    total = 0.
    for new_maps, old_maps in zip(new, old):
        pairs = zip(
            slow_embedding(new_maps, scales), slow_embedding(old_maps, scales))
        total = total + sum((a - b)**2 for a, b in pairs)**.5
    return total / len(new)


def slow_pod(
    feats: list,
    teacher_feats: list,
    logits: Tensor,
    teacher_logits: Tensor,
    factors: tuple = (0.01, 0.0005),
    scales: tuple = (1, 2, 4)
) -> Tensor:
    """``factors`` of the features and of the logits."""
    num_seen, num_old = logits.size(1), teacher_logits.size(1)
    channels = list(logits.unbind(1))
    reduced = channels[:num_old]
    for channel in channels[num_old:]:
        reduced[0] = reduced[0] + channel
    total = factors[1] * slow_distance(
        torch.stack(reduced, 1), teacher_logits, scales)
    for new, old in zip(feats, teacher_feats):
        total = total + factors[0] * slow_distance(new, old, scales)
    num_new = max(num_seen - num_old, 1)
    return math.sqrt(num_seen / num_new) * total / (len(feats) + 1)


def draw_all(batch: int, channels: int, num_old: int, height: int,
             width: int) -> tuple:
    """Two features, the second of half the size, and logits."""
    small = (max(height // 2, 1), max(width // 2, 1))
    shapes = ((batch, 2, height, width), (batch, 3, *small))
    feats = [draw(*shape, seed=0).requires_grad_() for shape in shapes]
    logits = draw(batch, channels, height, width, seed=1).requires_grad_()
    return (feats, [draw(*shape, seed=2) for shape in shapes], logits,
            draw(batch, num_old, height, width, seed=3))


@pytest.mark.parametrize('batch, channels, num_old, height, width', SHAPES)
def test_equals_formula(batch, channels, num_old, height, width):
    args = draw_all(batch, channels, num_old, height, width)
    loss = local_pod(*args)
    expected = slow_pod(*args)
    assert loss.shape == () and loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    inputs = [*args[0], args[2]]
    for grad, expected_grad in zip(
            torch.autograd.grad(loss, inputs),
            torch.autograd.grad(expected, inputs)):
        torch.testing.assert_close(grad, expected_grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('scales', [(1, ), (3, ), (2, 5), (4, 2, 1)])
def test_scales_and_factors(scales):
    args = draw_all(1, 4, 2, 6, 5)
    torch.testing.assert_close(
        local_pod(*args, 2., .5, scales),
        slow_pod(*args, (2., .5), scales),
        rtol=1e-9,
        atol=0)


@pytest.mark.parametrize('batch, channels, num_old, height, width',
                         [(2, 3, 2, 5, 4), (1, 2, 2, 2, 3)])
def test_gradcheck(batch, channels, num_old, height, width):
    feats, teacher_feats, logits, teacher_logits = draw_all(
        batch, channels, num_old, height, width)
    assert torch.autograd.gradcheck(
        lambda a, b, z: local_pod(
            (a, b), teacher_feats, z, teacher_logits, 1., 1.),
        (*feats, logits))


def test_remainder_is_lost():
    """At scale 4 of 5 x 7, row 4 and columns 4 to 6 are in no cell."""
    feats, teacher_feats, logits, teacher_logits = draw_all(1, 3, 2, 5, 7)
    loss = local_pod(
        feats[:1], teacher_feats[:1], logits, teacher_logits, scales=(4, ))
    grad, = torch.autograd.grad(loss, feats[0])
    assert torch.all(grad[..., 4, :] == 0) and torch.all(grad[..., 4:] == 0)
    assert torch.all(grad[..., :4, :4] != 0)


def test_equal_outputs_have_no_loss():
    """Where a norm has no derivative, the gradient is 0."""
    feats, _, logits, _ = draw_all(2, 4, 2, 4, 6)
    with torch.no_grad():
        # The sum that a background of the teacher is compared with.
        background = logits[:, :1] + logits[:, 2:].sum(dim=1, keepdim=True)
        teacher_logits = torch.cat((background, logits[:, 1:2]), dim=1)
        teacher_feats = [feat.clone() for feat in feats]
    loss = local_pod(feats, teacher_feats, logits, teacher_logits)
    loss.backward()
    assert loss == 0
    for tensor in (*feats, logits):
        assert torch.all(tensor.grad == 0)


def test_without_new_classes():
    feats, teacher_feats, logits, teacher_logits = draw_all(2, 3, 3, 4, 4)
    assert local_pod(feats, feats, logits, logits) == 0
    assert local_pod(feats, teacher_feats, logits, teacher_logits) > 0


def test_no_gradient_reaches_the_teacher():
    feats, teacher_feats, logits, teacher_logits = draw_all(2, 3, 2, 4, 4)
    for tensor in (*teacher_feats, teacher_logits):
        tensor.requires_grad_()
    local_pod(feats, teacher_feats, logits, teacher_logits).backward()
    assert logits.grad.abs().sum() > 0
    assert all(t.grad is None for t in (*teacher_feats, teacher_logits))


@pytest.mark.parametrize('scale', [1e4, -1e4])
def test_large_logits_are_finite(scale):
    feats, teacher_feats, logits, teacher_logits = (
        [t.detach().float() for t in arg] if isinstance(arg, list) else
        (scale * arg.detach().sign()).float()
        for arg in draw_all(2, 5, 2, 8, 8))
    logits.requires_grad_()
    args = (feats, teacher_feats, logits, teacher_logits)
    loss = local_pod(*args)
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()
    expected = local_pod(
        *([t.double() for t in arg] if isinstance(arg, list) else arg.double()
          for arg in args))
    torch.testing.assert_close(loss, expected.float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    args = [[(300 * t.detach()).to(dtype).requires_grad_()
             for t in arg] if isinstance(arg, list) else
            (300 * arg.detach()).to(dtype).requires_grad_()
            for arg in draw_all(2, 5, 2, 8, 8)]
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = local_pod(*args)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert torch.equal(
        loss,
        local_pod(*([t.float()
                     for t in arg] if isinstance(arg, list) else arg.float()
                    for arg in args)))
    for tensor in (*args[0], args[2]):
        assert tensor.grad.dtype == dtype and tensor.grad.isfinite().all()


def test_teacher_may_run_in_inference_mode():
    args = draw_all(2, 3, 2, 4, 4)
    with torch.inference_mode():
        frozen = draw_all(2, 3, 2, 4, 4)
    loss = local_pod(args[0], frozen[1], args[2], frozen[3])
    loss.backward()
    assert torch.equal(loss, local_pod(*args))


def test_refuses_other_shapes():
    feats, teacher_feats, logits, teacher_logits = draw_all(2, 3, 2, 4, 4)
    with pytest.raises(ValueError, match='features .* same shapes'):
        local_pod(feats, teacher_feats[:1], logits, teacher_logits)
    with pytest.raises(ValueError, match=r'\[2, 3, 2, 2\].*\[2, 3, 2, 1\]'):
        local_pod(feats, [teacher_feats[0], teacher_feats[1][..., :1]], logits,
                  teacher_logits)
    with pytest.raises(ValueError, match='same batch and spatial size'):
        local_pod(feats, teacher_feats, logits, teacher_logits[..., :1])
    with pytest.raises(ValueError, match='have 4 channels'):
        local_pod(feats, teacher_feats, logits, torch.zeros(2, 4, 4, 4))


def test_module():
    loss = MODELS.build(
        dict(
            type='LocalPODLoss',
            feature_factor=.5,
            logit_factor=.25,
            scales=[1, 3],
            loss_weight=2.))
    assert type(loss) is LocalPODLoss and loss.loss_name == 'loss_pod'
    assert set(loss.reads) == {'stages', 'embedding', 'logits'}
    feats, teacher_feats, logits, teacher_logits = draw_all(2, 3, 2, 4, 4)
    # The head's own map counts as one more.
    student, teacher = (StepOutputs(stages=(f[0], ), embedding=f[1], logits=z)
                        for f, z in ((feats, logits), (teacher_feats,
                                                       teacher_logits)))
    torch.testing.assert_close(
        loss(student, teacher),
        2. * slow_pod(feats, teacher_feats, logits, teacher_logits, (.5, .25),
                      (1, 3)))


@pytest.mark.parametrize('scales', [(), (0, ), (1, -2), (1.5, ),
                                    ('1', ), 4, None])
def test_refuses_scales(scales):
    with pytest.raises(IncrementalConfigError, match='positive integers'):
        LocalPODLoss(scales=scales)


def test_scales_of_numpy():
    assert LocalPODLoss(scales=np.array([1, 2])).scales == (1, 2)


@pytest.mark.parametrize('key', ['feature_factor', 'logit_factor'])
@pytest.mark.parametrize('value', ['0.01', -1.0, float('nan'), True])
def test_refuses_factors(key, value):
    with pytest.raises(
            IncrementalConfigError, match=f"{key} of 'loss_pod' is .* >= 0"):
        LocalPODLoss(**{key: value})
