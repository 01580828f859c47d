import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mmseg_incremental.models.losses import (sigmoid_cross_entropy,
                                             sigmoid_distillation)

# B, C, O, H, W
SHAPES = [(1, 2, 1, 3, 2), (2, 5, 3, 2, 4), (1, 6, 5, 1, 5), (1, 4, 4, 3, 3)]


def draw(batch: int,
         channels: int,
         height: int = 3,
         width: int = 4,
         seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn((batch, channels, height, width),
                           dtype=torch.float64,
                           generator=generator)


def draw_labels(kind: str,
                batch: int,
                num_classes: int,
                height: int = 3,
                width: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    labels = torch.randint(
        num_classes, (batch, height, width), generator=generator)
    if kind == 'background':
        labels[:] = 0
    elif kind == 'some_ignored':
        labels[:, 0, ::2] = 255
    elif kind == 'all_ignored':
        labels[:] = 255
    return labels


def slow_binary(logit: Tensor, target: float) -> Tensor:
    prob = 1 / (1 + torch.exp(-logit))
    return -target * torch.log(prob) - (1 - target) * torch.log(1 - prob)


def slow_cross_entropy(logits: Tensor,
                       labels: Tensor,
                       avg_non_ignore: bool = False,
                       first_class: int = 0) -> Tensor:
    total, count = 0. * logits.sum(), 0
    for b, h, w in torch.cartesian_prod(*map(torch.arange, labels.shape)):
        label = int(labels[b, h, w])
        if label == 255:
            continue
        count += 1
        for c in range(first_class, logits.size(1)):
            total = total + slow_binary(logits[b, c, h, w], float(c == label))
    return total / max(count if avg_non_ignore else labels.numel(), 1)


def slow_distillation(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    total, count = 0. * logits.sum(), 0
    for b, h, w in torch.cartesian_prod(
            *map(torch.arange, (logits.size(0), *logits.shape[2:]))):
        count += 1
        for c in range(teacher_logits.size(1)):
            target = 1 / (1 + torch.exp(-teacher_logits[b, c, h, w]))
            total = total + slow_binary(logits[b, c, h, w], target)
    return total / count


def value_and_grad(function, logits: Tensor, *args, **kwargs) -> tuple:
    logits = logits.clone().requires_grad_()
    loss = function(logits, *args, **kwargs)
    loss.backward()
    return loss.detach(), logits.grad


@pytest.mark.parametrize('avg_non_ignore', [False, True])
@pytest.mark.parametrize(
    'kind', ['mixed', 'background', 'some_ignored', 'all_ignored'])
@pytest.mark.parametrize('batch, channels, num_old, height, width',
                         [*SHAPES, (1, 1, 1, 2, 2)])
def test_cross_entropy_equals_formula(batch, channels, num_old, height, width,
                                      kind, avg_non_ignore):
    logits = draw(batch, channels, height, width)
    labels = draw_labels(kind, batch, channels, height, width)
    untouched = labels.clone()
    mean = dict(avg_non_ignore=avg_non_ignore)
    loss, grad = value_and_grad(sigmoid_cross_entropy, logits, labels, **mean)
    expected, expected_grad = value_and_grad(slow_cross_entropy, logits,
                                             labels, **mean)
    assert loss.shape == () and loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-9, atol=1e-9)
    assert (loss == 0) == (kind == 'all_ignored')
    assert torch.equal(labels, untouched)


@pytest.mark.parametrize('kind', ['mixed', 'background', 'some_ignored'])
@pytest.mark.parametrize('batch, channels, num_old, height, width', SHAPES)
def test_new_classes_alone(batch, channels, num_old, height, width, kind):
    """With the teacher for the old ones it is the loss of iCaRL."""
    logits = draw(batch, channels, height, width)
    labels = draw_labels(kind, batch, channels, height, width)
    options = dict(first_class=num_old)
    loss, grad = value_and_grad(sigmoid_cross_entropy, logits, labels,
                                **options)
    expected, expected_grad = value_and_grad(slow_cross_entropy, logits,
                                             labels, **options)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-9, atol=1e-9)
    assert torch.all(grad[:, :num_old] == 0)
    weight = torch.linspace(.5, 2, channels, dtype=torch.float64)
    parts = [
        sigmoid_cross_entropy(logits, labels, class_weight=w, **options)
        for w in (weight, weight * (torch.arange(channels) >= num_old))
    ]
    torch.testing.assert_close(*parts)


@pytest.mark.parametrize('batch, channels, num_old, height, width', SHAPES)
def test_distillation_equals_formula(batch, channels, num_old, height, width):
    logits = draw(batch, channels, height, width)
    teacher_logits = draw(batch, num_old, height, width, seed=1)
    loss, grad = value_and_grad(sigmoid_distillation, logits, teacher_logits)
    expected, expected_grad = value_and_grad(slow_distillation, logits,
                                             teacher_logits)
    assert loss.shape == () and loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-9, atol=1e-9)
    assert torch.all(grad[:, num_old:] == 0)


def test_gradcheck():
    logits = draw(2, 4, 2, 3).requires_grad_()
    labels = draw_labels('some_ignored', 2, 4, 2, 3)
    class_weight = torch.linspace(.5, 2, 4, dtype=torch.float64)
    pixel_weight = torch.linspace(0, 1, 12, dtype=torch.float64).view(2, 2, 3)
    assert torch.autograd.gradcheck(
        lambda z: sigmoid_cross_entropy(
            z, labels, class_weight=class_weight, pixel_weight=pixel_weight),
        logits)
    teacher_logits = draw(2, 3, 2, 3, seed=1)
    assert torch.autograd.gradcheck(
        lambda z: sigmoid_distillation(z, teacher_logits), logits)


@pytest.mark.parametrize('ignore_index', [-100, 0, 1, 3])
def test_cross_entropy_ignore_index_may_be_any_label(ignore_index):
    logits = draw(1, 4, 2, 3)
    labels = torch.tensor([[[0, 1, 2], [3, ignore_index, 3]]])
    relabelled = labels.masked_fill(labels == ignore_index, 255)
    torch.testing.assert_close(
        sigmoid_cross_entropy(logits, labels, ignore_index),
        slow_cross_entropy(logits, relabelled),
        rtol=1e-9,
        atol=0)


def test_cross_entropy_of_every_pixel():
    logits, labels = draw(2, 5), draw_labels('some_ignored', 2, 5)
    loss = sigmoid_cross_entropy(logits, labels, reduction='none')
    assert loss.shape == labels.shape
    assert torch.all(loss[labels == 255] == 0)
    for b, h, w in ((0, 0, 1), (1, 2, 3)):
        torch.testing.assert_close(
            loss[b, h, w],
            slow_cross_entropy(logits[b:b + 1, :, h:h + 1, w:w + 1],
                               labels[b:b + 1, h:h + 1, w:w + 1]))


def test_cross_entropy_weights():
    """A class weight is that of a binary loss, at whatever pixel."""
    logits, labels = draw(1, 3, 1, 3), torch.tensor([[[0, 2, 255]]])
    class_weight = torch.tensor([.5, 7., 2.])
    pixel_weight = torch.tensor([[[1., .25, 9.]]], dtype=torch.float64)
    expected = sum(class_weight[c] * pixel_weight[0, 0, w] *
                   slow_binary(logits[0, c, 0, w], float(c == labels[0, 0, w]))
                   for c in range(3) for w in range(2))
    loss = sigmoid_cross_entropy(
        logits, labels, class_weight=class_weight, pixel_weight=pixel_weight)
    torch.testing.assert_close(loss, expected / 3, rtol=1e-12, atol=0)


def test_distillation_pulls_nowhere_at_the_teacher():
    teacher_logits = draw(2, 3)
    loss, grad = value_and_grad(sigmoid_distillation,
                                torch.cat((teacher_logits, draw(2, 2)), 1),
                                teacher_logits)
    prob = teacher_logits.sigmoid()
    entropy = torch.special.entr(prob) + torch.special.entr(1 - prob)
    torch.testing.assert_close(loss, entropy.sum(dim=1).mean())
    torch.testing.assert_close(
        grad, torch.zeros_like(grad), rtol=0, atol=1e-16)


@pytest.mark.parametrize('scale, offset', [(1e4, 0.), (3., 1e4), (3., -1e4)])
def test_large_logits_keep_float32_accuracy(scale, offset):
    logits = (draw(2, 5) * scale / 3 + offset).float()
    teacher_logits = (draw(2, 3, seed=1) * scale / 3).float()
    labels = draw_labels('some_ignored', 2, 5)
    for function, target in ((sigmoid_cross_entropy, labels),
                             (sigmoid_distillation, teacher_logits)):
        loss, grad = value_and_grad(function, logits, target)
        assert loss.isfinite() and grad.isfinite().all()
        if target is teacher_logits:
            target = target.double()
        expected, expected_grad = value_and_grad(function, logits.double(),
                                                 target)
        torch.testing.assert_close(
            loss, expected.float(), rtol=2e-6, atol=1e-6)
        torch.testing.assert_close(
            grad, expected_grad.float(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits = (2000 * draw(2, 5)).to(dtype)
    teacher_logits = (2000 * draw(2, 3, seed=1)).to(dtype)
    labels = draw_labels('some_ignored', 2, 5)
    for function, target in ((sigmoid_cross_entropy, labels),
                             (sigmoid_distillation, teacher_logits)):
        with torch.autocast('cpu', dtype=torch.bfloat16):
            loss, grad = value_and_grad(function, logits, target)
        assert loss.dtype == torch.float32 and grad.dtype == dtype
        assert loss.isfinite() and grad.isfinite().all()
        if target is teacher_logits:
            target = target.float()
        assert torch.equal(loss, function(logits.float(), target))


def test_autocast_does_not_change_the_losses():
    features, weight = draw(2, 6).float(), draw(5, 6, 1, 1, seed=1).float()
    labels = draw_labels('mixed', 2, 5)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        logits = F.conv2d(features, weight)
        losses = (sigmoid_cross_entropy(logits, labels),
                  sigmoid_distillation(logits, logits[:, 1:4]))
    assert logits.dtype == torch.bfloat16
    logits = logits.float()
    assert torch.equal(losses[0], sigmoid_cross_entropy(logits, labels))
    assert torch.equal(losses[1], sigmoid_distillation(logits, logits[:, 1:4]))


def test_cross_entropy_refuses_reduction():
    with pytest.raises(ValueError, match="reduction is 'sum'"):
        sigmoid_cross_entropy(
            draw(1, 3), draw_labels('mixed', 1, 3), reduction='sum')


@pytest.mark.parametrize('label', [-1, 3])
def test_cross_entropy_refuses_unknown_labels(label):
    with pytest.raises(
            RuntimeError, match=f'index {label} is out of bounds .* size 3'):
        sigmoid_cross_entropy(draw(1, 3), torch.full((1, 3, 4), label))
