"""The fused losses against the formulas, pixel by pixel, in float64."""
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mmseg_incremental.models.losses import (fused_unbiased_loss,
                                             unbiased_cross_entropy,
                                             unbiased_distillation)
from mmseg_incremental.models.losses.fused import (bands, build_objective,
                                                   fused_losses, interpolation)

# B, C, O, (h, w), (h', w'), (H, W)
SHAPES = [
    (1, 2, 1, (2, 3), (2, 3), (5, 7)),
    (2, 5, 3, (3, 2), (3, 2), (6, 4)),
    (2, 5, 3, (2, 4), (3, 2), (5, 6)),
    (1, 6, 5, (1, 1), (1, 1), (3, 4)),
    (2, 4, 4, (2, 2), (2, 2), (4, 3)),
    (2, 5, 2, (4, 5), (4, 5), (4, 5)),
    (1, 5, 2, (7, 9), (4, 5), (4, 5)),
]
WEIGHT = 10.0


def draw(shape, scale=3, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(shape, dtype=torch.float64, generator=generator)
    return (scale * drawn).to(dtype)


def draw_batch(batch, num_classes, num_old, low, teacher_low, size, **kwargs):
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(
        0, num_classes + 1, (batch, *size), generator=generator)
    labels[labels == num_classes] = 255
    return (draw((batch, num_classes, *low), **kwargs), labels,
            draw((batch, num_old, *teacher_low), seed=2, **kwargs))


def upsample(logits, size, align_corners=False):
    return F.interpolate(
        logits, size, mode='bilinear', align_corners=align_corners)


def slow_losses(logits, labels, teacher_logits, unbiased_labels,
                unbiased_teacher):
    """Both losses of logits of label size, a pixel after the other."""
    num_classes, num_old = logits.size(1), teacher_logits.size(1)
    covered = range(num_old if unbiased_labels else 1)
    cross_entropy = distillation = 0. * logits.sum()
    for b, h, w in product(*map(range, labels.shape)):
        prob = logits[b, :, h, w].softmax(dim=0)
        label = int(labels[b, h, w])
        if label != 255:
            target = sum(prob[c] for c in covered) \
                if label in covered else prob[label]
            cross_entropy = cross_entropy - target.log()
        teacher_prob = teacher_logits[b, :, h, w].softmax(dim=0)
        background = [0, *range(num_old, num_classes)]
        if not unbiased_teacher:
            prob = logits[b, :num_old, h, w].softmax(dim=0)
            background = [0]
        for c in range(num_old):
            merged = sum(prob[k] for k in (background if c == 0 else [c]))
            distillation = distillation - teacher_prob[c] * merged.log()
    count = labels.numel()
    return cross_entropy / count, WEIGHT * distillation / (num_old * count)


def value_and_grad(function, logits, *args, factors=(1., 1.)):
    logits = logits.detach().clone().requires_grad_()
    losses = function(logits, *args)[:2]
    total = sum(factor * loss for factor, loss in zip(factors, losses))
    total.backward()
    return [loss.detach() for loss in losses], logits.grad


def assert_equal(result, expected, **tolerance):
    for one, other in zip((*result[0], result[1]),
                          (*expected[0], expected[1])):
        torch.testing.assert_close(one, other, check_dtype=False, **tolerance)


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('unbiased_labels', [False, True])
@pytest.mark.parametrize('unbiased_teacher', [False, True])
@pytest.mark.parametrize('shapes', SHAPES)
def test_reference(shapes, unbiased_teacher, unbiased_labels, align_corners):
    logits, labels, teacher_logits = draw_batch(*shapes)

    def slow(logits, labels, teacher_logits):
        size = labels.shape[1:]
        return slow_losses(
            upsample(logits, size, align_corners), labels,
            upsample(teacher_logits, size, align_corners), unbiased_labels,
            unbiased_teacher)

    def fused(logits, labels, teacher_logits):
        return fused_losses(
            logits,
            labels,
            build_objective(unbiased_labels, unbiased_teacher),
            teacher_logits.size(1),
            teacher_logits=teacher_logits,
            distill_weight=WEIGHT,
            align_corners=align_corners)

    batch = (logits, labels, teacher_logits)
    assert_equal(
        value_and_grad(fused, *batch),
        value_and_grad(slow, *batch),
        rtol=1e-9,
        atol=1e-9)


def readable(logits, labels, teacher_logits):
    """Both losses of MiB by the readable functions."""
    size = labels.shape[1:]
    logits = upsample(logits, size)
    teacher_logits = upsample(teacher_logits, size)
    return (unbiased_cross_entropy(logits, labels, teacher_logits.size(1)),
            WEIGHT * unbiased_distillation(logits, teacher_logits))


@pytest.mark.parametrize('factors', [(0.3, 2.0), (1., 0.), (0., 1.),
                                     (-2., -2.)])
def test_each_loss_has_its_own_gradient(factors):
    batch = draw_batch(*SHAPES[2])
    assert_equal(
        value_and_grad(fused_unbiased_loss, *batch, factors=factors),
        value_and_grad(readable, *batch, factors=factors))


@pytest.mark.parametrize('shapes', [SHAPES[1], SHAPES[5]])
def test_backward_twice(shapes):
    logits, labels, teacher_logits = draw_batch(*shapes)
    expected = value_and_grad(readable, logits, labels, teacher_logits)[1]
    logits.requires_grad_()
    loss = sum(fused_unbiased_loss(logits, labels, teacher_logits))
    for times in (1, 2, 3):
        loss.backward(retain_graph=True)
        torch.testing.assert_close(logits.grad, times * expected)


def test_gradient_is_given_away():
    """Who writes to it does not change what another one gets."""
    logits, labels, teacher_logits = draw_batch(2, 7, 4, (4, 4), (4, 4),
                                                (16, 16))
    logits.requires_grad_()
    loss = sum(fused_unbiased_loss(logits, labels, teacher_logits))
    first, = torch.autograd.grad(loss, logits, retain_graph=True)
    expected = first.clone()
    first.mul_(3)
    second, = torch.autograd.grad(loss, logits, retain_graph=True)
    torch.testing.assert_close(second, expected)
    third, = torch.autograd.grad(2 * loss, logits)
    torch.testing.assert_close(third, 2 * expected)


def test_without_teacher():
    logits, labels, _ = draw_batch(*SHAPES[1])
    logits.requires_grad_()
    cross_entropy, distillation = fused_unbiased_loss(logits, labels)
    expected = F.cross_entropy(
        upsample(logits, labels.shape[1:]),
        labels,
        ignore_index=255,
        reduction='none').mean()
    torch.testing.assert_close(cross_entropy, expected)
    assert distillation == 0
    gradients = [
        torch.autograd.grad(loss, logits, retain_graph=True)[0]
        for loss in (cross_entropy + distillation, expected)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize('avg_non_ignore', [False, True])
@pytest.mark.parametrize('weighted_classes', [False, True])
@pytest.mark.parametrize('weighted_pixels', [False, True])
def test_weights(weighted_pixels, weighted_classes, avg_non_ignore):
    logits, labels, _ = draw_batch(*SHAPES[1])
    options = dict(avg_non_ignore=avg_non_ignore)
    if weighted_classes:
        options['class_weight'] = torch.linspace(0.5, 2, 5).double()
    if weighted_pixels:
        options['pixel_weight'] = torch.linspace(0, 1, labels.numel()).view(
            labels.shape).double()

    def fused(logits):
        return fused_losses(
            logits,
            labels,
            build_objective(True, True),
            num_old=3,
            loss_weight=0.4,
            **options)

    def slow(logits):
        size = labels.shape[1:]
        return 0.4 * unbiased_cross_entropy(
            upsample(logits, size), labels, 3, **options), torch.zeros(())

    assert_equal(value_and_grad(fused, logits), value_and_grad(slow, logits))


def test_all_ignored():
    logits, labels, teacher_logits = draw_batch(*SHAPES[1])
    batch = logits, torch.full_like(labels, 255), teacher_logits
    losses, gradient = value_and_grad(
        fused_unbiased_loss, *batch, factors=(1., 0.))
    assert losses[0] == 0
    assert torch.equal(gradient, torch.zeros_like(gradient))
    assert_equal(
        value_and_grad(fused_unbiased_loss, *batch),
        value_and_grad(readable, *batch))


def test_scaled_loss_of_half_precision():
    """As GradScaler scales it."""
    logits, labels, teacher_logits = draw_batch(
        *SHAPES[1], dtype=torch.float16)
    factors = (4096., 4096.)
    losses, gradient = value_and_grad(
        fused_unbiased_loss, logits, labels, teacher_logits, factors=factors)
    expected = value_and_grad(
        readable,
        logits.float(),
        labels,
        teacher_logits.float(),
        factors=factors)
    assert_equal((losses, gradient.float()), expected, rtol=1e-3, atol=1e-3)


BACKENDS = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul


@pytest.fixture(params=['all', 'cuda', 'mkldnn'])
def rough_products(request):
    """What a user may set for the speed of the network."""
    if request.param == 'all':
        torch.set_float32_matmul_precision('medium')
    elif not hasattr(BACKENDS[0], 'fp32_precision'):
        pytest.skip('this PyTorch has no precision of a backend')
    else:
        backend = getattr(torch.backends, request.param).matmul
        rough = 'tf32' if request.param == 'cuda' else 'bf16'
        backend.fp32_precision = rough
    yield
    for backend in BACKENDS:
        if hasattr(backend, 'fp32_precision'):
            backend.fp32_precision = 'ieee'
    torch.set_float32_matmul_precision('highest')


def test_rough_products_do_not_round_the_logits(rough_products):
    batch = draw_batch(*SHAPES[1], dtype=torch.float32)
    before = [getattr(b, 'fp32_precision', None) for b in BACKENDS]
    assert_equal(
        value_and_grad(fused_unbiased_loss, *batch),
        value_and_grad(readable, *batch))
    assert before == [getattr(b, 'fp32_precision', None) for b in BACKENDS]


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize('scale', [1., 1e4])
def test_without_gradient(mode, scale):
    """Also where the readable losses take over."""
    logits, labels, teacher_logits = draw_batch(*SHAPES[1], scale=scale)
    # As a parameter would be.
    logits.requires_grad_()
    with mode():
        losses = fused_unbiased_loss(logits, labels, teacher_logits)
        expected = readable(logits, labels, teacher_logits)
    torch.testing.assert_close(tuple(losses), tuple(expected))


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('scale', [1e2, 1e4])
def test_extreme_logits(scale, dtype):
    batch = draw_batch(*SHAPES[1], scale=scale, dtype=dtype)
    result = value_and_grad(fused_unbiased_loss, *batch)
    assert result[1].isfinite().all()
    assert_equal(result, value_and_grad(readable, *batch))


@pytest.mark.parametrize('scale', [1., 1e4])
def test_channel_255(scale):
    """It is no label to ignore where the configuration names another one."""
    logits = draw((1, 300, 2, 2), scale).requires_grad_()
    labels = torch.tensor([[[255, 299], [-1, 0]]])
    teacher_logits = draw((1, 3, 2, 2), scale, seed=2)
    loss, _ = fused_unbiased_loss(
        logits, labels, teacher_logits, ignore_index=-1)
    gradient, = torch.autograd.grad(loss, logits)
    expected = unbiased_cross_entropy(logits, labels, 3, ignore_index=-1)
    wanted, = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient, wanted)
    assert gradient[0, 255, 0, 0] != 0


@pytest.mark.parametrize('of_teacher', [False, True])
def test_samples_that_contradict_each_other(of_teacher):
    """All exponentials are nothing between them, beside their highest."""
    logits, labels, teacher_logits = draw_batch(
        *SHAPES[1], dtype=torch.float32)
    changed = teacher_logits if of_teacher else logits
    changed.fill_(-500)
    changed[:, 0, ::2], changed[:, 1, 1::2] = 500, 500
    batch = logits, labels, teacher_logits
    result = value_and_grad(fused_unbiased_loss, *batch)
    assert result[1].isfinite().all()
    assert_equal(result, value_and_grad(readable, *batch))


@pytest.mark.parametrize('offset', [-600., -60., 60., 600.])
@pytest.mark.parametrize('shapes', [SHAPES[1], SHAPES[5]])
@pytest.mark.parametrize('of_teacher', [False, True])
def test_logits_of_any_height(of_teacher, shapes, offset):
    """Exponentials that would be infinite or nothing, by a common offset."""
    logits, labels, teacher_logits = draw_batch(*shapes, dtype=torch.float32)
    if of_teacher:
        args = logits, labels, teacher_logits + offset
    else:
        args = logits + offset, labels, teacher_logits
    expected = value_and_grad(
        fused_unbiased_loss,
        *(x.double() if x.is_floating_point() else x for x in args))
    assert_equal(
        value_and_grad(fused_unbiased_loss, *args),
        expected,
        rtol=1e-4,
        atol=1e-6)


@pytest.mark.parametrize('scale', [3., 100., 1e4])
@pytest.mark.parametrize('shapes', [SHAPES[1], SHAPES[5], SHAPES[6]])
def test_inputs_stay_as_they_are(shapes, scale):
    batch = draw_batch(*shapes, scale=scale)
    before = [tensor.clone() for tensor in batch]
    value_and_grad(fused_unbiased_loss, *batch)
    for tensor, other in zip(batch, before):
        assert torch.equal(tensor, other)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits, labels, teacher_logits = draw_batch(*SHAPES[1], dtype=dtype)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses, gradient = value_and_grad(fused_unbiased_loss, logits, labels,
                                          teacher_logits)
    assert losses[0].dtype == torch.float32 and gradient.dtype == dtype
    expected = value_and_grad(readable, logits.float(), labels,
                              teacher_logits.float())
    assert_equal((losses, gradient.float()), (expected[0], expected[1]),
                 rtol=torch.finfo(dtype).eps,
                 atol=1e-5)


def test_channels_last_input_gives_channels_last_gradient():
    logits, labels, teacher_logits = draw_batch(*SHAPES[1])
    result = value_and_grad(fused_unbiased_loss, logits, labels,
                            teacher_logits)
    logits = logits.to(memory_format=torch.channels_last)
    other = value_and_grad(fused_unbiased_loss, logits, labels, teacher_logits)
    assert other[1].is_contiguous(memory_format=torch.channels_last)
    assert_equal(other, result, rtol=0, atol=0)
    # Of label size, where one layout is not as good as the other.
    batch = draw_batch(*SHAPES[5])
    result = value_and_grad(fused_unbiased_loss, *batch)
    logits = batch[0].to(memory_format=torch.channels_last)
    other = value_and_grad(fused_unbiased_loss, logits, *batch[1:])
    assert_equal(other, result, rtol=0, atol=0)


def test_size_of_the_bands(monkeypatch):
    batch = draw_batch(2, 5, 3, (4, 5), (4, 5), (16, 20), dtype=torch.float32)
    whole = value_and_grad(fused_unbiased_loss, *batch)
    again = value_and_grad(fused_unbiased_loss, *batch)
    assert_equal(again, whole, rtol=0, atol=0)
    for numel in (1, 5 * 20 * 3, 5 * 20 * 10):
        monkeypatch.setattr(bands, 'BAND_NUMEL', numel)
        assert_equal(value_and_grad(fused_unbiased_loss, *batch), whole)


@pytest.mark.parametrize('has_mkl', [True, False])
def test_number_of_threads(has_mkl, monkeypatch):
    monkeypatch.setattr(torch.backends.mkl, 'is_available', lambda: has_mkl)
    # Matrices are kept as they were made.
    interpolation._interpolation.cache_clear()
    # Large enough to be divided.
    batch = draw_batch(1, 9, 5, (8, 9), (8, 9), (64, 72), dtype=torch.float32)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(value_and_grad(fused_unbiased_loss, *batch))
    finally:
        torch.set_num_threads(before)
        interpolation._interpolation.cache_clear()
    expected = value_and_grad(readable, *batch)
    for result in results:
        assert_equal(result, expected, rtol=1e-5, atol=1e-8)


class Largest(TorchDispatchMode):
    """Records the size of the largest tensor that an operation returns."""

    numel = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.numel = max(self.numel, result.numel())
        return result


def test_logits_of_label_size_are_never_built(monkeypatch):
    logits, labels, teacher_logits = draw_batch(2, 9, 5, (4, 4), (4, 4),
                                                (32, 32))
    monkeypatch.setattr(bands, 'BAND_NUMEL', 9 * 32 * 4)
    with Largest() as largest:
        value_and_grad(fused_unbiased_loss, logits, labels, teacher_logits)
    assert largest.numel == labels.numel()


def test_where_labels_are_highest():
    logits, labels, teacher_logits = draw_batch(*SHAPES[1])
    losses = fused_losses(
        logits,
        labels,
        build_objective(True, True),
        3,
        teacher_logits=teacher_logits)
    predicted = upsample(logits, labels.shape[1:]).argmax(dim=1)
    assert torch.equal(losses.is_highest, predicted == labels)
    assert losses.is_highest.any()


def test_second_derivative_is_refused():
    logits, labels, teacher_logits = draw_batch(*SHAPES[1])
    logits.requires_grad_()
    loss = sum(fused_unbiased_loss(logits, labels, teacher_logits))
    with pytest.raises(RuntimeError, match='no second derivative'):
        torch.autograd.grad(loss, logits, create_graph=True)


@pytest.mark.parametrize('label', [5, -1, 254])
def test_unknown_label_is_refused(label):
    logits, labels, teacher_logits = draw_batch(*SHAPES[1])
    labels[0, 1, 1] = label
    with pytest.raises(RuntimeError, match='out of bounds'):
        fused_unbiased_loss(logits, labels, teacher_logits)


def test_other_batch_is_refused():
    logits, labels, teacher_logits = draw_batch(*SHAPES[1])
    with pytest.raises(ValueError, match='2, 2 and 1 images'):
        fused_unbiased_loss(logits, labels, teacher_logits[:1])
    with pytest.raises(ValueError, match='2, 1 and 2 images'):
        fused_unbiased_loss(logits, labels[:1], teacher_logits)


def test_more_old_classes_than_classes_are_refused():
    logits, labels, teacher_logits = draw_batch(*SHAPES[1])
    with pytest.raises(ValueError, match='between 1 and the 2 channels'):
        fused_unbiased_loss(logits[:, :2], labels, teacher_logits)


def test_labels_and_weights_that_do_not_fit():
    logits, labels, _ = draw_batch(*SHAPES[1])
    objective = build_objective(True, True)
    with pytest.raises(ValueError, match='labels are torch.uint8'):
        fused_losses(logits, labels.byte(), objective, 3)
    for shape in ((1, ), (2, 1, 1)):
        with pytest.raises(ValueError, match='pixel_weight has the shape'):
            fused_losses(
                logits, labels, objective, 3, pixel_weight=torch.ones(shape))
    with pytest.raises(ValueError, match='must be on one device'):
        fused_losses(logits, labels.to('meta'), objective, 3)
