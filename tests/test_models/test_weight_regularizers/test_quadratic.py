import pytest
import torch

from mmseg_incremental.models.weight_regularizers.quadratic import \
    QuadraticPenalty

SHAPES = [(4, 3), (5, ), ()]


def draw(seed):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(shape, dtype=torch.float64, generator=generator)
        for shape in SHAPES
    ]


@pytest.fixture
def penalty():
    params = [tensor.requires_grad_() for tensor in draw(0)]
    omega = [tensor.abs() for tensor in draw(1)]
    return QuadraticPenalty(3.0, params, omega, draw(2))


def slow(penalty):
    """The formula, weight by weight."""
    return penalty.loss_weight * sum(
        o * (w - a)**2 for param, omega, anchor in zip(
            penalty.params, penalty.omega, penalty.anchor)
        for w, o, a in zip(param.flatten(), omega.flatten(), anchor.flatten()))


def test_value_and_gradient(penalty):
    expected = slow(penalty)
    assert penalty.value() == pytest.approx(expected.item(), rel=1e-12)
    grads = torch.autograd.grad(expected, penalty.params)
    for param, grad in zip(penalty.params, draw(3)):
        param.grad = grad
    penalty.pull_back()
    for param, grad, before in zip(penalty.params, grads, draw(3)):
        torch.testing.assert_close(param.grad, before + grad)


def test_weights_without_gradient_stay(penalty):
    penalty.pull_back()
    assert all(param.grad is None for param in penalty.params)
    penalty.params[1].grad = torch.zeros(SHAPES[1], dtype=torch.float64)
    penalty.pull_back()
    assert penalty.params[0].grad is None and penalty.params[2].grad is None
    assert torch.all(penalty.params[1].grad != 0)


def test_weight_0(penalty):
    penalty.loss_weight = 0.0
    # Infinite importances would make NaN of a product with 0.
    for omega, param in zip(penalty.omega, penalty.params):
        omega.fill_(torch.inf)
        param.grad = torch.ones_like(param)
    penalty.pull_back()
    assert all(torch.all(param.grad == 1) for param in penalty.params)


def test_share_of_important_weights():
    omega = [torch.tensor([[0., .5], [.2, .1]]), torch.tensor(.5)]
    penalty = QuadraticPenalty(1.0, omega, omega, omega)
    assert penalty.important_share(.1) == 3 / 5
    assert penalty.important_share(.5) == 0
    assert penalty.important_share() == 4 / 5
