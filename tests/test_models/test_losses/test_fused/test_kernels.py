"""The kernels against the bands, in Triton's interpreter where no GPU is."""
import pytest
import torch

from mmseg_incremental.models.losses.fused import (build_objective,
                                                   fused_losses, gpu, losses)
from mmseg_incremental.models.losses.fused.function import FusedLoss

SHAPES = [
    # B, C, O, (h, w), (h', w'), (H, W)
    (2, 5, 3, (3, 2), (3, 2), (7, 9)),
    (1, 12, 10, (2, 4), (3, 2), (5, 140)),
    (1, 2, 1, (2, 3), (2, 3), (4, 5)),
    (2, 4, 4, (4, 3), (4, 3), (4, 3)),
    (1, 5, 2, (7, 9), (7, 9), (4, 5)),
    (1, 3, 2, (1, 4), (2, 1), (3, 5)),
]


@pytest.fixture
def device(monkeypatch):
    pytest.importorskip('triton', reason='the kernels need Triton')
    if torch.cuda.is_available():
        return 'cuda'
    monkeypatch.setattr(losses, 'has_kernels', lambda *args: True)
    return 'cpu'


def draw(shape, device, dtype=torch.float32):
    num_images, num_classes, num_old, low, teacher_low, size = shape
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(
        0, num_classes + 1, (num_images, *size), generator=generator)
    labels[labels == num_classes] = 255
    logits, teacher_logits = ((3 *
                               torch.randn(*sizes, generator=generator)).to(
                                   device, dtype)
                              for sizes in ((num_images, num_classes, *low),
                                            (num_images, num_old,
                                             *teacher_low)))
    return logits, labels.to(device), teacher_logits


def compute(logits, labels, teacher_logits, factors=(1., 1.), **kwargs):
    """Values, where the labels are highest, and gradient."""
    logits = logits.detach().clone().requires_grad_()
    values = fused_losses(
        logits,
        labels,
        teacher_logits=teacher_logits,
        distill_weight=10.0,
        **kwargs)
    total = (
        factors[0] * values.cross_entropy + factors[1] * values.distillation)
    total.backward()
    return (values.cross_entropy.detach(), values.distillation.detach(),
            values.is_highest, logits.grad)


def in_bands(logits, labels, teacher_logits, **kwargs):
    """The same in double precision, which has no kernels."""
    teacher_logits = (None if teacher_logits is None else
                      teacher_logits.cpu().double())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, 'has_kernels', lambda *args: False)
        kwargs = {
            key: value.cpu() if torch.is_tensor(value) else value
            for key, value in kwargs.items()
        }
        return compute(logits.cpu().double(), labels.cpu(), teacher_logits,
                       **kwargs)


def assert_close(found, wanted, rtol=1e-4):
    for left, right in zip(found, wanted):
        torch.testing.assert_close(
            left.cpu(), right.to(left.dtype), rtol=rtol, atol=1e-6)


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('is_unbiased', [True, False])
@pytest.mark.parametrize('has_teacher', [True, False])
def test_equal_bands(device, shape, is_unbiased, has_teacher):
    logits, labels, teacher_logits = draw(shape, device)
    teacher_logits = teacher_logits if has_teacher else None
    kwargs = dict(
        objective=build_objective(is_unbiased, is_unbiased),
        num_old=shape[2],
        factors=(2., 0.5))
    assert_close(
        compute(logits, labels, teacher_logits, **kwargs),
        in_bands(logits, labels, teacher_logits, **kwargs))


@pytest.mark.parametrize('mixed', [(True, False), (False, True)])
def test_weights_and_corners(device, mixed):
    logits, labels, teacher_logits = draw(SHAPES[0], device)
    kwargs = dict(
        objective=build_objective(*mixed),
        num_old=3,
        align_corners=True,
        class_weight=torch.linspace(0.5, 2., 5, device=device),
        pixel_weight=torch.rand(labels.shape, device=device),
        avg_non_ignore=True,
        loss_weight=0.4)
    assert_close(
        compute(logits, labels, teacher_logits, **kwargs),
        in_bands(logits, labels, teacher_logits, **kwargs))


def test_layouts(device):
    """Weights of whole images, expanded, and permuted labels and logits."""
    logits, labels, teacher_logits = draw(SHAPES[0], device)
    weight = torch.tensor([0.5, 2.], device=device)
    kwargs = dict(
        objective=build_objective(False, False),
        num_old=3,
        pixel_weight=weight.view(2, 1, 1).expand(labels.shape))
    labels = labels.transpose(1, 2).contiguous().transpose(1, 2)
    logits, teacher_logits = (
        tensor.to(memory_format=torch.channels_last)
        for tensor in (logits, teacher_logits))
    assert_close(
        compute(logits, labels, teacher_logits, **kwargs),
        in_bands(logits, labels, teacher_logits, **kwargs))


@pytest.mark.parametrize('dtype, scale', [(torch.bfloat16, 1.),
                                          (torch.float16, 2.**10)])
def test_half_precision(device, dtype, scale):
    logits, labels, teacher_logits = draw(SHAPES[0], device, dtype)
    kwargs = dict(
        objective=build_objective(True, True),
        num_old=3,
        factors=(scale, scale))
    *values, gradient = compute(logits, labels, teacher_logits, **kwargs)
    *wanted, wanted_gradient = in_bands(logits, labels, teacher_logits,
                                        **kwargs)
    assert_close(values, wanted)
    assert gradient.dtype == dtype
    torch.testing.assert_close(
        gradient.cpu().double(), wanted_gradient, rtol=1e-2, atol=scale * 1e-4)


def test_vanishing_groups(device):
    """A group far below the highest logit keeps its gradient."""
    logits, labels, teacher_logits = draw(SHAPES[0], device)
    logits[:, 4] += 200.
    kwargs = dict(objective=build_objective(True, True), num_old=3)
    assert_close(
        compute(logits, labels, teacher_logits, **kwargs),
        in_bands(logits, labels, teacher_logits, **kwargs))


def test_same_bits_twice(device):
    logits, labels, teacher_logits = draw(SHAPES[1], device)
    kwargs = dict(objective=build_objective(True, True), num_old=10)
    for left, right in zip(*(compute(logits, labels, teacher_logits, **kwargs)
                             for _ in range(2))):
        assert torch.equal(left, right)


def test_no_second_derivative(device):
    logits, labels, teacher_logits = draw(SHAPES[0], device)
    logits.requires_grad_()
    values = fused_losses(logits, labels, build_objective(True, True), 3,
                          teacher_logits)
    with pytest.raises(RuntimeError, match='no second derivative'):
        torch.autograd.grad(values.cross_entropy, logits, create_graph=True)


def test_label_that_is_no_channel(device):
    if device == 'cuda':
        pytest.skip('a device-side assertion ends the process')
    logits, labels, teacher_logits = draw(SHAPES[0], device)
    labels[0, 0, 0] = 7
    with pytest.raises(RuntimeError, match='labels'):
        fused_losses(logits, labels, build_objective(True, True), 3,
                     teacher_logits)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('channel', [1, 4])
def test_broken_logits_are_noticed(device, value, channel):
    logits, labels, teacher_logits = draw(SHAPES[0], device)
    labels.fill_(2)
    logits[:, channel] = value
    kwargs = dict(objective=build_objective(True, True), num_old=3)
    for taught in (None, teacher_logits):
        cross_entropy, distillation, *_ = compute(logits, labels, taught,
                                                  **kwargs)
        assert not cross_entropy.isfinite()
        assert taught is None or not distillation.isfinite()


def test_one_loss_alone(device):
    logits, labels, teacher_logits = draw(SHAPES[0], device)
    logits.requires_grad_()
    values = fused_losses(logits, labels, build_objective(True, True), 3,
                          teacher_logits)
    gradient, = torch.autograd.grad(values.distillation, logits)
    *_, wanted = in_bands(
        logits,
        labels,
        teacher_logits,
        objective=build_objective(True, True),
        num_old=3,
        factors=(0., 0.1))
    assert_close([gradient], [wanted])


def test_changed_labels_are_noticed(device):
    logits, labels, teacher_logits = draw(SHAPES[0], device)
    logits.requires_grad_()
    values = fused_losses(logits, labels, build_objective(True, True), 3,
                          teacher_logits)
    labels.zero_()
    with pytest.raises(RuntimeError, match='modified by an inplace'):
        values.cross_entropy.backward()


class Logits:
    """What is asked of logits before a kernel is chosen."""

    device = 'cuda'

    def __init__(self, is_cuda=True, dtype=torch.float32, num_classes=3):
        self.is_cuda, self.dtype = is_cuda, dtype
        self.shape = torch.Size([2, num_classes, 2048, 2048])


@pytest.mark.parametrize('logits, teacher, expected', [
    (Logits(), None, True),
    (Logits(), Logits(dtype=torch.bfloat16), True),
    (Logits(is_cuda=False), None, False),
    (Logits(dtype=torch.float64), None, False),
    (Logits(), Logits(dtype=torch.float64), False),
    (Logits(num_classes=511), None, True),
    (Logits(num_classes=512), None, False),
    (Logits(), Logits(num_classes=512), False),
])
def test_choice(monkeypatch, logits, teacher, expected):
    monkeypatch.setattr(gpu, 'triton', object())
    monkeypatch.setattr(gpu, '_can_launch', lambda device: True)
    assert gpu.has_kernels(logits, teacher) is expected
    monkeypatch.setattr(gpu, '_can_launch', lambda device: False)
    assert not gpu.has_kernels(logits, teacher)
    monkeypatch.setattr(gpu, '_can_launch', lambda device: True)
    monkeypatch.setattr(gpu, 'triton', None)
    assert not gpu.has_kernels(logits, teacher)


def test_kernels_that_cannot_run_are_named(monkeypatch):
    said = []
    monkeypatch.setattr(gpu, 'print_log',
                        lambda text, **kwargs: said.append(text))
    monkeypatch.setattr(gpu, 'triton', None)
    assert not gpu._can_launch.__wrapped__(torch.device('cpu'))
    assert 'computed in bands of rows' in said[0]


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_first_call_may_want_no_gradient(mode, monkeypatch):
    monkeypatch.setattr(gpu, 'KernelLoss', FusedLoss)
    with mode():
        assert gpu._can_launch.__wrapped__(torch.device('cpu'))


def test_kernels_are_tried(device):
    assert gpu._can_launch.__wrapped__(torch.device(device))
