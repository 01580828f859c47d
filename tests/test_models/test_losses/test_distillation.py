import pytest
import torch
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models import (DistillationLoss,
                                      SigmoidDistillationLoss,
                                      UnbiasedDistillationLoss)
from mmseg_incremental.models.losses import (BaseDistillationLoss, StepOutputs,
                                             distillation,
                                             sigmoid_distillation,
                                             unbiased_distillation)

# B, C, O, H, W
SHAPES = [(1, 2, 1, 3, 2), (2, 5, 3, 2, 4), (1, 6, 5, 1, 5), (1, 4, 4, 3, 3)]
FUNCTIONS = [distillation, unbiased_distillation, sigmoid_distillation]


def draw(batch: int,
         channels: int,
         height: int = 3,
         width: int = 4,
         seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn((batch, channels, height, width),
                           dtype=torch.float64,
                           generator=generator)


def slow_distillation(logits: Tensor,
                      teacher_logits: Tensor,
                      temperature: float = 1.0) -> Tensor:
    num_old = teacher_logits.size(1)
    batch, _, height, width = logits.shape
    total = 0. * logits.sum()
    for b in range(batch):
        for h in range(height):
            for w in range(width):
                exp = torch.exp(logits[b, :num_old, h, w] / temperature)
                exp_teacher = torch.exp(teacher_logits[b, :, h, w] /
                                        temperature)
                for c in range(num_old):
                    teacher_prob = exp_teacher[c] / exp_teacher.sum()
                    total = total - teacher_prob * torch.log(
                        exp[c] / exp.sum())
    return total / (num_old * batch * height * width)


def value_and_grad(function, logits: Tensor, *args) -> tuple:
    logits = logits.clone().requires_grad_()
    loss = function(logits, *args)
    loss.backward()
    return loss.detach(), logits.grad


@pytest.mark.parametrize('temperature', [1.0, 2, 0.5])
@pytest.mark.parametrize('batch, channels, num_old, height, width', SHAPES)
def test_equals_formula(batch, channels, num_old, height, width, temperature):
    logits = draw(batch, channels, height, width)
    teacher_logits = draw(batch, num_old, height, width, seed=1)
    loss, grad = value_and_grad(distillation, logits, teacher_logits,
                                temperature)
    expected, expected_grad = value_and_grad(slow_distillation, logits,
                                             teacher_logits, temperature)
    assert loss.shape == () and loss.dtype == torch.float64
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-9, atol=1e-9)
    assert torch.all(grad[:, num_old:] == 0)
    assert torch.autograd.gradcheck(
        lambda z: distillation(z, teacher_logits, temperature),
        logits.requires_grad_())


def test_temperature():
    loss = MODELS.build(
        dict(type='DistillationLoss', temperature=2.0, loss_weight=3.0))
    student, teacher = (
        StepOutputs(seg_logits=logits, logits=logits)
        for logits in (draw(2, 5), draw(2, 3, seed=1)))
    torch.testing.assert_close(
        loss(student, teacher),
        3 * distillation(student.seg_logits, teacher.seg_logits, 2))
    assert 'temperature=2.0' in repr(loss)


@pytest.mark.parametrize('temperature', [0, -1., float('inf'), '2'])
def test_refuses_temperature(temperature):
    with pytest.raises(IncrementalConfigError, match='finite number > 0'):
        DistillationLoss(temperature=temperature)


@pytest.mark.parametrize('scale, offset', [(1e4, 0.), (3., 1e4), (3., -1e4)])
def test_large_logits_keep_float32_accuracy(scale, offset):
    logits = (draw(2, 5) * scale / 3 + offset).float()
    teacher_logits = (draw(2, 3, seed=1) * scale / 3).float()
    loss, grad = value_and_grad(distillation, logits, teacher_logits)
    expected, expected_grad = value_and_grad(distillation, logits.double(),
                                             teacher_logits.double())
    assert loss.isfinite() and grad.isfinite().all()
    torch.testing.assert_close(loss, expected.float(), rtol=2e-6, atol=1e-6)
    torch.testing.assert_close(
        grad, expected_grad.float(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits = (2000 * draw(2, 5)).to(dtype)
    teacher_logits = (2000 * draw(2, 3, seed=1)).to(dtype)
    expected = distillation(logits.float(), teacher_logits.float())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss, grad = value_and_grad(distillation, logits, teacher_logits)
    assert loss.dtype == torch.float32 and grad.dtype == dtype
    assert loss.isfinite() and grad.isfinite().all()
    assert torch.equal(loss, expected)


@pytest.mark.parametrize('function', FUNCTIONS)
def test_no_gradient_reaches_the_teacher(function):
    logits = draw(2, 5).requires_grad_()
    teacher_logits = draw(2, 3, seed=1).requires_grad_()
    function(logits, teacher_logits).backward()
    assert logits.grad.abs().sum() > 0
    assert teacher_logits.grad is None


@pytest.mark.parametrize('function', FUNCTIONS)
def test_teacher_may_run_in_inference_mode(function):
    with torch.inference_mode():
        teacher_logits = draw(2, 3, seed=1)
    loss, grad = value_and_grad(function, draw(2, 5), teacher_logits)
    expected, expected_grad = value_and_grad(function, draw(2, 5),
                                             draw(2, 3, seed=1))
    assert torch.equal(loss, expected)
    assert torch.equal(grad, expected_grad)


@pytest.mark.parametrize('function', FUNCTIONS)
@pytest.mark.parametrize('teacher_shape', [(2, 3, 3, 5), (2, 3, 1, 4),
                                           (1, 3, 3, 4)])
def test_refuses_other_pixels(function, teacher_shape):
    with pytest.raises(ValueError, match='same batch and spatial size'):
        function(draw(2, 5), torch.zeros(teacher_shape))


@pytest.mark.parametrize('function', FUNCTIONS)
@pytest.mark.parametrize('num_old', [0, 6])
def test_refuses_teacher_channels(function, num_old):
    with pytest.raises(
            ValueError, match=f'have {num_old} channels, .* the 5 of logits'):
        function(draw(2, 5), torch.zeros(2, num_old, 3, 4))


@pytest.mark.parametrize('cls, function, weight, name', [
    (DistillationLoss, distillation, 100., 'loss_kd'),
    (UnbiasedDistillationLoss, unbiased_distillation, 10., 'loss_unkd'),
    (SigmoidDistillationLoss, sigmoid_distillation, 10., 'loss_bce_kd'),
])
def test_modules(cls, function, weight, name):
    loss = MODELS.build(dict(type=cls.__name__))
    assert type(loss) is cls
    assert loss.loss_name == name
    assert loss.reads == ('seg_logits', )
    student = StepOutputs(seg_logits=draw(2, 5))
    teacher = StepOutputs(seg_logits=draw(2, 3, seed=1))
    expected = function(student.seg_logits, teacher.seg_logits)
    torch.testing.assert_close(loss(student, teacher), weight * expected)

    loss = MODELS.build(
        dict(type=cls.__name__, loss_weight=.5, loss_name='loss_old'))
    assert loss.loss_name == 'loss_old'
    assert 'loss_weight=0.5' in repr(loss)
    torch.testing.assert_close(loss(student, teacher), .5 * expected)


@pytest.mark.parametrize(
    'weight',
    [-1, float('nan'), float('inf'), '10', None, True])
@pytest.mark.parametrize(
    'cls',
    [DistillationLoss, UnbiasedDistillationLoss, SigmoidDistillationLoss])
def test_modules_refuse_loss_weight(cls, weight):
    with pytest.raises(
            IncrementalConfigError, match=f'is {weight!r}, .* number >= 0'):
        cls(loss_weight=weight)


def test_base_class_is_abstract():
    with pytest.raises(TypeError, match='abstract'):
        BaseDistillationLoss(1.0, 'loss_kd')
