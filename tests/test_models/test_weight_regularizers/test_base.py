import copy
import io
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models import BaseWeightRegularizer

_SMALL = runpy.run_path(str(Path(__file__).with_name('small_params.py')))
draw_params, loss_of = _SMALL['draw_params'], _SMALL['loss_of']


class Usage(BaseWeightRegularizer):
    """Sum of the absolute gradients, as plain as an importance can be."""

    buffers = dict(total=0.5, steps=1.0)
    carried = ('total', )

    def observe(self, grads):
        for total, steps, grad in zip(self.state['total'], self.state['steps'],
                                      grads):
            total += grad.abs()
            steps += 1

    def importance(self, state):
        return [total.clone() for total in state['total']]


def train(regularizer: BaseWeightRegularizer, params: dict,
          seeds: range) -> None:
    optimizer = torch.optim.SGD(params.values(), lr=0.02)
    for seed in seeds:
        optimizer.zero_grad()
        loss_of(params, seed).backward()
        regularizer.watch()
        regularizer.pull_back()
        optimizer.step()


def copied(values: dict) -> dict:
    return {name: value.detach().clone() for name, value in values.items()}


@pytest.fixture
def finished() -> tuple:
    """State and weights at the end of step 0."""
    params, regularizer = draw_params(), Usage(3.0)
    regularizer.start(params)
    train(regularizer, params, range(4))
    regularizer.finish()
    return regularizer.state_dict(carried_only=True), copied(params)


def test_step_0_watches_and_changes_nothing():
    params, alone = draw_params(), draw_params()
    regularizer = Usage(1e6)
    regularizer.start(params)
    train(regularizer, params, range(4))
    optimizer = torch.optim.SGD(alone.values(), lr=0.02)
    total = {name: np.full(p.shape, .5) for name, p in alone.items()}
    for seed in range(4):
        optimizer.zero_grad()
        loss_of(alone, seed).backward()
        for name, param in alone.items():
            if param.grad is not None:
                total[name] = total[name] + np.abs(param.grad.numpy())
        optimizer.step()
    assert regularizer.penalty() == 0 and regularizer.iteration == 4
    for name, gathered in zip(params, regularizer.state['total']):
        assert torch.equal(params[name], alone[name])
        np.testing.assert_allclose(gathered, total[name], rtol=1e-12)
    assert params['unused'].grad is None


def test_new_rows_have_no_importance(finished):
    carried, anchor = finished
    params = draw_params(rows=5, seed=1)
    regularizer = Usage(3.0)
    regularizer.start(params, carried, anchor)
    for name, omega, start, total, steps in zip(params,
                                                regularizer.quadratic.omega,
                                                regularizer.quadratic.anchor,
                                                regularizer.state['total'],
                                                regularizer.state['steps']):
        old = ... if name in ('factor', 'unused') else slice(3)
        assert torch.equal(omega[old], carried['total'][name])
        assert torch.equal(start[old], anchor[name])
        assert torch.equal(total[old], carried['total'][name])
        assert torch.all(steps == 1)
        if old is not ...:
            assert torch.all(omega[3:] == 0) and torch.all(total[3:] == .5)
            assert torch.equal(start[3:], params[name][3:])
    assert regularizer.iteration == 0


def test_pull_back_is_the_gradient_of_the_penalty(finished):
    carried, anchor = finished
    params = draw_params(rows=5, seed=1)
    regularizer = Usage(3.0)
    regularizer.start(params, carried, anchor)
    penalty = 0.
    for name, param in params.items():
        rows = param if param.dim() == 0 else param[:len(anchor[name])]
        penalty = penalty + 3.0 * (carried['total'][name] *
                                   (rows - anchor[name])**2).sum()
    assert regularizer.penalty() == pytest.approx(penalty.item(), rel=1e-12)

    loss = loss_of(params, 0)
    expected = torch.autograd.grad(
        loss + penalty, params.values(), retain_graph=True)
    loss.backward(retain_graph=True)
    regularizer.pull_back()
    for (name, param), grad in zip(params.items(), expected):
        if name == 'unused':
            # The optimizer does not move it, so that nothing pulls it back.
            assert param.grad is None
        else:
            torch.testing.assert_close(param.grad, grad)
            assert not torch.equal(
                param.grad,
                torch.autograd.grad(loss, param, retain_graph=True)[0])


def test_nothing_pulls_at_the_anchor(finished):
    carried, anchor = finished
    params = {name: p.clone().requires_grad_() for name, p in anchor.items()}
    regularizer = Usage(1e6)
    regularizer.start(params, carried, anchor)
    loss_of(params, 0).backward()
    before = copied({n: p.grad for n, p in params.items() if n != 'unused'})
    regularizer.pull_back()
    assert regularizer.penalty() == 0
    for name, grad in before.items():
        assert torch.equal(params[name].grad, grad)


def test_weight_0_leaves_gradients_to_the_bit(finished):
    params, alone = draw_params(5, seed=1), draw_params(5, seed=1)
    regularizer = Usage(0)
    regularizer.start(params, *finished)
    train(regularizer, params, range(3))
    optimizer = torch.optim.SGD(alone.values(), lr=0.02)
    for seed in range(3):
        optimizer.zero_grad()
        loss_of(alone, seed).backward()
        optimizer.step()
    for name, param in params.items():
        assert torch.equal(param, alone[name]), name
    assert regularizer.quadratic is not None and regularizer.penalty() == 0


def test_no_gradient_at_all(finished):
    params = draw_params()
    regularizer = Usage(3.0)
    regularizer.start(params, *finished)
    before = copy.deepcopy(regularizer.state['total'])
    regularizer.watch()
    regularizer.pull_back()
    assert all(param.grad is None for param in params.values())
    for total, old in zip(regularizer.state['total'], before):
        assert torch.equal(total, old)


def test_state_mid_step_goes_on_as_uninterrupted(finished):
    carried, anchor = finished
    params = draw_params(5, seed=1)
    regularizer = Usage(3.0)
    regularizer.start(params, carried, anchor)
    train(regularizer, params, range(3))
    file = io.BytesIO()
    torch.save(regularizer.state_dict(), file)
    weights = copied(params)
    train(regularizer, params, range(3, 6))

    file.seek(0)
    resumed = Usage(3.0)
    again = {name: p.clone().requires_grad_() for name, p in weights.items()}
    resumed.start(again, carried, anchor)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    assert resumed.iteration == 3
    train(resumed, again, range(3, 6))
    assert resumed.iteration == regularizer.iteration == 6
    for name in params:
        assert torch.equal(again[name], params[name])
    for name, tensors in regularizer.state.items():
        for first, second in zip(tensors, resumed.state[name]):
            assert torch.equal(first, second)


def test_only_what_is_carried_leaves_the_step(finished):
    carried, anchor = finished
    assert sorted(carried) == ['iteration', 'parts', 'settings', 'total']
    assert sorted(carried['total']) == sorted(anchor)
    regularizer = Usage(3.0)
    regularizer.start(draw_params())
    assert sorted(
        regularizer.state_dict()) == ['iteration', 'parts', 'steps', 'total']


def test_what_is_carried_stays_as_it_is(finished):
    carried, anchor = finished
    before = copy.deepcopy((carried, anchor))
    regularizer, params = Usage(3.0), draw_params(5, seed=1)
    regularizer.start(params, carried, anchor)
    train(regularizer, params, range(3))
    for name in anchor:
        assert torch.equal(carried['total'][name], before[0]['total'][name])
        assert torch.equal(anchor[name], before[1][name])


@pytest.mark.parametrize('change, name', [
    (lambda carried, anchor: carried.pop('total'), 'weight'),
    (lambda carried, anchor: carried['total'].pop('bias'), 'bias'),
    (lambda carried, anchor: anchor.pop('factor'), 'factor'),
    (lambda carried, anchor: carried['total'].update(weight=torch.ones(3, 3)),
     'weight'),
    (lambda carried, anchor: carried['total'].update(weight=torch.ones(6, 2)),
     'weight'),
    (lambda carried, anchor: carried['total'].update(bias=torch.ones(
        ())), 'bias'),
    (lambda carried, anchor: carried['total'].update(factor=torch.ones(2)),
     'factor'),
    (lambda carried, anchor: anchor.update(weight=torch.ones(3)), 'weight'),
])
def test_misfit_is_refused(finished, change, name):
    carried, anchor = copy.deepcopy(finished)
    change(carried, anchor)
    with pytest.raises(
            IncrementalConfigError,
            match=f'Usage finds nothing of {name} in its shape in .* take that'
    ):
        Usage(3.0).start(draw_params(rows=5), carried, anchor)


@pytest.mark.parametrize('weight', [-1, float('nan'), 'high', None, True])
def test_refuses_loss_weight(weight):
    with pytest.raises(
            IncrementalConfigError,
            match=f"'Usage' is {weight!r}, .* finite number >= 0"):
        Usage(weight)


def test_base_class_is_abstract():
    with pytest.raises(TypeError, match='abstract'):
        BaseWeightRegularizer(1.0)
