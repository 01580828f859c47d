import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_incremental.models.losses import (distillation,
                                             unbiased_cross_entropy,
                                             unbiased_distillation)

# B, C, O, H, W
SHAPES = [(1, 2, 1, 3, 2), (2, 4, 1, 2, 3), (2, 5, 3, 2, 4), (1, 6, 5, 1, 5),
          (2, 7, 2, 3, 2), (1, 4, 4, 3, 3)]


def draw(batch: int, channels: int, height: int, width: int,
         seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn((batch, channels, height, width),
                           dtype=torch.float64,
                           generator=generator)


def draw_labels(kind: str, batch: int, num_classes: int, num_old: int,
                height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    low, high = {
        'background': (0, 1),
        'old': (0, num_old),
    }.get(kind, (0, num_classes))
    labels = torch.randint(
        low, high, (batch, height, width), generator=generator)
    if kind == 'some_ignored':
        labels[:, 0, ::2] = 255
    elif kind == 'all_ignored':
        labels[:] = 255
    return labels


def slow_cross_entropy(logits: Tensor, labels: Tensor, num_old: int,
                       avg_non_ignore: bool) -> Tensor:
    total, num_valid = 0. * logits.sum(), 0
    for b, h, w in torch.cartesian_prod(*map(torch.arange, labels.shape)):
        label = int(labels[b, h, w])
        if label == 255:
            continue
        num_valid += 1
        exp = torch.exp(logits[b, :, h, w])
        target = exp[:num_old].sum() if label < num_old else exp[label]
        total = total - torch.log(target / exp.sum())
    count = num_valid if avg_non_ignore else labels.numel()
    return total / max(count, 1)


def slow_distillation(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    num_classes, num_old = logits.size(1), teacher_logits.size(1)
    batch, _, height, width = logits.shape
    total = 0. * logits.sum()
    for b in range(batch):
        for h in range(height):
            for w in range(width):
                exp = torch.exp(logits[b, :, h, w])
                exp_teacher = torch.exp(teacher_logits[b, :, h, w])
                for c in range(num_old):
                    merged = [c] if c > 0 else [
                        0, *range(num_old, num_classes)
                    ]
                    student_prob = sum(exp[k] for k in merged) / exp.sum()
                    teacher_prob = exp_teacher[c] / exp_teacher.sum()
                    total = total - teacher_prob * torch.log(student_prob)
    return total / (num_old * batch * height * width)


def value_and_grad(function, logits: Tensor, *args, **kwargs) -> tuple:
    logits = logits.clone().requires_grad_()
    loss = function(logits, *args, **kwargs)
    loss.backward()
    return loss.detach(), logits.grad


@pytest.mark.parametrize('avg_non_ignore', [False, True])
@pytest.mark.parametrize(
    'kind', ['mixed', 'background', 'old', 'some_ignored', 'all_ignored'])
@pytest.mark.parametrize('batch, channels, num_old, height, width', SHAPES)
def test_cross_entropy_equals_formula(batch, channels, num_old, height, width,
                                      kind, avg_non_ignore):
    logits = draw(batch, channels, height, width, seed=0)
    labels = draw_labels(kind, batch, channels, num_old, height, width)
    untouched = labels.clone()
    loss, grad = value_and_grad(
        unbiased_cross_entropy,
        logits,
        labels,
        num_old,
        avg_non_ignore=avg_non_ignore)
    expected, expected_grad = value_and_grad(slow_cross_entropy, logits,
                                             labels, num_old, avg_non_ignore)
    assert loss.shape == () and loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-9, atol=1e-9)
    assert torch.equal(labels, untouched)


@pytest.mark.parametrize('batch, channels, num_old, height, width', SHAPES)
def test_distillation_equals_formula(batch, channels, num_old, height, width):
    logits = draw(batch, channels, height, width, seed=0)
    teacher_logits = draw(batch, num_old, height, width, seed=1)
    loss, grad = value_and_grad(unbiased_distillation, logits, teacher_logits)
    expected, expected_grad = value_and_grad(slow_distillation, logits,
                                             teacher_logits)
    assert loss.shape == () and loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('batch, channels, num_old, height, width', SHAPES)
def test_gradcheck(batch, channels, num_old, height, width):
    logits = draw(batch, channels, height, width, seed=0).requires_grad_()
    labels = draw_labels('some_ignored', batch, channels, num_old, height,
                         width)
    teacher_logits = draw(batch, num_old, height, width, seed=1)
    class_weight = torch.linspace(.5, 2, channels, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda z: unbiased_cross_entropy(
            z, labels, num_old, class_weight=class_weight), logits)
    assert torch.autograd.gradcheck(
        lambda z: unbiased_distillation(z, teacher_logits), logits)


@pytest.mark.parametrize('num_old', [0, 1])
@pytest.mark.parametrize('avg_non_ignore', [False, True])
def test_cross_entropy_is_plain_without_old_classes(num_old, avg_non_ignore):
    logits = draw(2, 5, 3, 4, seed=0)
    labels = draw_labels('some_ignored', 2, 5, 1, 3, 4)
    expected = F.cross_entropy(
        logits, labels, ignore_index=255, reduction='sum')
    expected /= (labels != 255).sum() if avg_non_ignore else labels.numel()
    loss = unbiased_cross_entropy(
        logits, labels, num_old, avg_non_ignore=avg_non_ignore)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize('ignore_index', [-100, 0, 1, 3])
def test_cross_entropy_ignore_index_may_be_any_label(ignore_index):
    logits = draw(1, 4, 2, 3, seed=0)
    labels = torch.tensor([[[0, 1, 2], [3, ignore_index, 3]]])
    relabelled = labels.masked_fill(labels == ignore_index, 255)
    loss = unbiased_cross_entropy(logits, labels, 2, ignore_index)
    expected = slow_cross_entropy(logits, relabelled, 2, False)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)


def test_cross_entropy_of_every_pixel():
    logits = draw(2, 5, 3, 4, seed=0)
    labels = draw_labels('some_ignored', 2, 5, 3, 3, 4)
    loss = unbiased_cross_entropy(logits, labels, 3, reduction='none')
    assert loss.shape == labels.shape
    assert torch.all(loss[labels == 255] == 0)
    for b in range(2):
        torch.testing.assert_close(
            loss[b, 1, 2],
            slow_cross_entropy(logits[b:b + 1, :, 1:2, 2:3],
                               labels[b:b + 1, 1:2, 2:3], 3, False))


def test_cross_entropy_weights():
    logits = draw(1, 4, 1, 4, seed=0)
    labels = torch.tensor([[[0, 1, 3, 255]]])
    class_weight = torch.tensor([.5, 7., 2., 3.], dtype=torch.float64)
    pixel_weight = torch.tensor([[[1., 2., .25, 9.]]], dtype=torch.float64)
    each = unbiased_cross_entropy(logits, labels, 2, reduction='none')[0, 0]
    loss = unbiased_cross_entropy(
        logits,
        labels,
        2,
        class_weight=class_weight,
        pixel_weight=pixel_weight)
    # The old class 1 has the weight of the background, 0.5.
    expected = (.5 * each[0] + .5 * 2 * each[1] + 3 * .25 * each[2]) / (.5 +
                                                                        .5 + 3)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)


def test_cross_entropy_all_ignored_with_class_weight():
    loss, grad = value_and_grad(
        unbiased_cross_entropy,
        draw(1, 3, 2, 2, seed=0),
        torch.full((1, 2, 2), 255),
        2,
        class_weight=torch.ones(3))
    assert loss == 0
    assert torch.all(grad == 0)


def test_distillation_equals_plain_without_new_classes():
    logits, teacher_logits = draw(2, 5, 3, 4, 0), draw(2, 5, 3, 4, 1)
    torch.testing.assert_close(
        unbiased_distillation(logits, teacher_logits),
        distillation(logits, teacher_logits),
        rtol=1e-12,
        atol=0)


def test_distillation_ignores_how_background_and_new_share():
    logits, teacher_logits = draw(2, 5, 3, 4, 0), draw(2, 3, 3, 4, 1)
    shared = logits.clone()
    merged = logits[:, [0, 3, 4]].logsumexp(dim=1)
    for channel, share in zip((0, 3, 4), (.2, .7, .1)):
        shared[:, channel] = merged + math.log(share)
    torch.testing.assert_close(
        unbiased_distillation(logits, teacher_logits),
        unbiased_distillation(shared, teacher_logits),
        rtol=1e-12,
        atol=0)
    assert not torch.allclose(
        distillation(logits, teacher_logits),
        distillation(shared, teacher_logits))


@pytest.mark.parametrize('num_old, num_new', [(1, 1), (4, 1), (3, 5)])
def test_background_initialisation(num_old, num_new):
    """Right after MiB's initialisation the student explains the teacher."""
    features = draw(2, 6, 3, 4, seed=0)
    weight = draw(num_old, 6, 1, 1, seed=1) / 6
    bias = torch.linspace(-1, 1, num_old, dtype=torch.float64)
    teacher_logits = F.conv2d(features, weight, bias)
    shared_bias = bias[:1] - math.log(num_new + 1)
    logits = F.conv2d(
        features, torch.cat((weight, weight[:1].expand(num_new, -1, -1, -1))),
        torch.cat((shared_bias, bias[1:], shared_bias.expand(num_new))))

    teacher_prob = teacher_logits.softmax(dim=1)
    entropy = torch.special.entr(teacher_prob).sum(dim=1).mean()
    loss, grad = value_and_grad(unbiased_distillation, logits, teacher_logits)
    torch.testing.assert_close(loss, entropy / num_old, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        grad, torch.zeros_like(grad), rtol=0, atol=1e-12)

    # num_new of the num_new + 1 equal shares of the background went to the
    # new classes.
    given_away = teacher_prob[:, 0] * num_new / (num_new + 1)
    labels = torch.zeros((2, 3, 4), dtype=torch.long)
    torch.testing.assert_close(
        unbiased_cross_entropy(logits, labels, num_old),
        -torch.log(1 - given_away).mean(),
        rtol=1e-12,
        atol=0)


@pytest.mark.parametrize('scale, offset', [(1e4, 0.), (3., 1e4), (3., -1e4)])
@pytest.mark.parametrize('num_old', [1, 3, 5])
def test_large_logits_keep_float32_accuracy(scale, offset, num_old):
    logits = (draw(2, 5, 4, 4, seed=0) * scale / 3 + offset).float()
    logits.clamp_(-1e4 - 20, 1e4 + 20)
    teacher_logits = (draw(2, num_old, 4, 4, seed=1) * scale / 3).float()
    labels = draw_labels('some_ignored', 2, 5, num_old, 4, 4)
    for function, args in ((unbiased_cross_entropy, (labels, num_old)),
                           (unbiased_distillation, (teacher_logits, ))):
        loss, grad = value_and_grad(function, logits, *args)
        assert loss.isfinite() and grad.isfinite().all()
        args = [arg.double() if arg is teacher_logits else arg for arg in args]
        expected, expected_grad = value_and_grad(function, logits.double(),
                                                 *args)
        torch.testing.assert_close(
            loss, expected.float(), rtol=2e-6, atol=1e-6)
        torch.testing.assert_close(
            grad, expected_grad.float(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('scale', [1., 2000.])
def test_half_precision_is_computed_in_float32(dtype, scale):
    logits = (scale * draw(2, 5, 3, 4, seed=0)).to(dtype)
    teacher_logits = (scale * draw(2, 3, 3, 4, seed=1)).to(dtype)
    labels = draw_labels('some_ignored', 2, 5, 3, 3, 4)
    for function, args in ((unbiased_cross_entropy, (labels, 3)),
                           (unbiased_distillation, (teacher_logits, ))):
        loss, grad = value_and_grad(function, logits, *args)
        assert loss.dtype == torch.float32 and grad.dtype == dtype
        assert loss.isfinite() and grad.isfinite().all()
        args = [arg.float() if arg is teacher_logits else arg for arg in args]
        assert torch.equal(loss, function(logits.float(), *args))


def test_autocast_does_not_change_the_losses():
    features = draw(2, 6, 3, 4, seed=0).float()
    weight = draw(5, 6, 1, 1, seed=1).float()
    labels = draw_labels('some_ignored', 2, 5, 3, 3, 4)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        logits = F.conv2d(features, weight)
        losses = (unbiased_cross_entropy(logits, labels, 3),
                  unbiased_distillation(logits, logits[:, :3]))
    assert logits.dtype == torch.bfloat16
    logits = logits.float()
    assert torch.equal(losses[0], unbiased_cross_entropy(logits, labels, 3))
    assert torch.equal(losses[1], unbiased_distillation(logits, logits[:, :3]))


@pytest.mark.parametrize('num_old', [-1, 4])
def test_cross_entropy_refuses_num_old(num_old):
    with pytest.raises(
            ValueError, match=f'num_old is {num_old}, .* between 0 and 3'):
        unbiased_cross_entropy(
            torch.zeros(1, 3, 2, 2),
            torch.zeros(1, 2, 2).long(), num_old)


def test_cross_entropy_refuses_reduction():
    with pytest.raises(ValueError, match="reduction is 'sum'"):
        unbiased_cross_entropy(
            torch.zeros(1, 3, 2, 2),
            torch.zeros(1, 2, 2).long(),
            1,
            reduction='sum')


@pytest.mark.parametrize('label', [-1, 3])
def test_cross_entropy_refuses_unknown_labels(label):
    with pytest.raises(IndexError, match=f'Target {label} is out of bounds'):
        unbiased_cross_entropy(
            torch.zeros(1, 3, 2, 2), torch.full((1, 2, 2), label), 2)
