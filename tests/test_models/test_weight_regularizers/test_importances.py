import io
import runpy
from pathlib import Path
from typing import Optional

import numpy as np
import pytest
import torch
from mmseg.registry import MODELS

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models import (BaseWeightRegularizer,
                                      ElasticWeightConsolidation, PathIntegral,
                                      RiemannianWalk)

_SMALL = runpy.run_path(str(Path(__file__).with_name('small_params.py')))
draw_params, loss_of = _SMALL['draw_params'], _SMALL['loss_of']

# Configs of the four, each with an interval or alpha of its own.
CONFIGS = [
    dict(type='ElasticWeightConsolidation', alpha=.7, loss_weight=5.),
    dict(type='PathIntegral', mode='official', loss_weight=5.),
    dict(type='PathIntegral', mode='paper', damping=1e-3, loss_weight=5.),
    dict(type='RiemannianWalk', alpha=.8, interval=3, loss_weight=5.),
]
IDS = ['ewc', 'pi-official', 'pi-paper', 'rw']
# Classes after each step: two new ones, then one, then two.
ROWS = (3, 5, 6, 8)


def train(regularizer: BaseWeightRegularizer,
          params: dict,
          num_iters: int,
          first: int = 0) -> list:
    """Train and note (weights, gradients of the loss) before each change.

    The last entry are the weights at the end.
    """
    history = []
    optimizer = torch.optim.SGD(params.values(), lr=0.02)
    for seed in range(first, first + num_iters):
        optimizer.zero_grad()
        loss_of(params, seed).backward()
        history.append(({
            n: p.detach().numpy().copy()
            for n, p in params.items()
        }, {
            n:
            np.zeros(p.shape) if p.grad is None else p.grad.numpy().copy()
            for n, p in params.items()
        }))
        regularizer.watch()
        regularizer.pull_back()
        optimizer.step()
    end = {n: p.detach().numpy().copy() for n, p in params.items()}
    return [*history, (end, None)]


def padded(values: Optional[np.ndarray], like: np.ndarray,
           fill: float) -> np.ndarray:
    """Old rows, if there are any, in a larger array."""
    result = np.full(like.shape, fill)
    if values is not None:
        result[slice(len(values)) if like.shape else ...] = values
    return result


def slow_scale(values: np.ndarray) -> np.ndarray:
    """Each step's rows by their own range, in a classifier tensor a step."""
    if not values.shape or len(values) not in ROWS:
        return slow_range(values)
    ends = ROWS[:ROWS.index(len(values)) + 1]
    return np.concatenate(
        [slow_range(values[a:b]) for a, b in zip((0, *ends), ends)])


def slow_range(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / (values.max() - values.min() + 1e-8)


def slow_fisher(grads: list, start: np.ndarray, alpha: float) -> list:
    """F after each iteration."""
    fishers = []
    for grad in grads:
        start = np.array([
            alpha * g * g + (1 - alpha) * f
            for g, f in zip(grad.ravel(), start.ravel())
        ]).reshape(start.shape)
        fishers.append(start)
    return fishers


def slow_path(thetas: list, grads: list, mode: str,
              damping: float) -> np.ndarray:
    path = np.zeros(thetas[0].shape)
    for k, grad in enumerate(grads):
        if mode == 'paper':
            path = path + grad * (thetas[k] - thetas[k + 1])
        elif k > 0:
            path = path + grad * (thetas[k - 1] - thetas[k])
    change = (thetas[-1] - thetas[0])**2
    return np.maximum(0, path / (change + damping))


def slow_score(thetas: list, grads: list, fishers: list,
               interval: int) -> np.ndarray:
    score, before = np.zeros(thetas[0].shape), thetas[0]
    for k in range(interval, len(grads), interval):
        change = thetas[k] - before
        score = score - grads[k] * change / (.5 * fishers[k - 1] * change**2 +
                                             1e-8)
        before = thetas[k]
    return np.maximum(0, score)


def slow_step(cfg: dict, history: list, name: str, before: dict) -> tuple:
    """What is carried on, and importance, after a step."""
    thetas = [weights[name] for weights, _ in history]
    grads = [grad[name] for _, grad in history[:-1]]
    if cfg['type'] == 'PathIntegral':
        omega = padded(before.get('omega'), thetas[0], 0.)
        omega = omega + slow_path(thetas, grads, cfg['mode'],
                                  cfg.get('damping', 1e-20))
        return dict(omega=omega), slow_scale(omega)
    start = padded(before.get('fisher'), thetas[0], 1.)
    fishers = slow_fisher(grads, start, cfg['alpha'])
    carried, omega = dict(fisher=fishers[-1]), slow_scale(fishers[-1])
    if cfg['type'] == 'RiemannianWalk':
        score = slow_score(thetas, grads, fishers, cfg['interval'])
        if before:
            # Rows of new classes have no other score to average with.
            other = padded(before['score'], score, np.nan)
            score = np.where(np.isnan(other), score, (score + other) / 2)
        carried['score'] = score
        omega = omega + slow_scale(score)
    return carried, omega


def begin(cfg: dict, seed: int, rows: int, *args: dict) -> tuple:
    params, regularizer = draw_params(rows, seed), MODELS.build(cfg)
    regularizer.start(params, *args)
    return params, regularizer


def finish(regularizer: BaseWeightRegularizer) -> dict:
    regularizer.finish()
    return regularizer.state_dict(carried_only=True)


def as_anchor(params: dict) -> dict:
    return {name: param.detach().clone() for name, param in params.items()}


@pytest.mark.parametrize('cfg', CONFIGS, ids=IDS)
def test_steps_equal_formula(cfg):
    expected = {name: ({}, None) for name in draw_params(1, 0)}
    args, num_iters = (), (7, 5, 6, 4)
    for step, rows in enumerate(ROWS):
        params, regularizer = begin(cfg, step, rows, *args)
        if step > 0:
            assert regularizer.quadratic is not None
            for name, omega in zip(params, regularizer.quadratic.omega):
                np.testing.assert_allclose(
                    omega,
                    padded(expected[name][1], omega.numpy(), 0.),
                    rtol=1e-9,
                    atol=1e-15,
                    err_msg=name)
        history = train(regularizer, params, num_iters[step])
        carried = finish(regularizer)
        for name in params:
            expected[name] = slow_step(cfg, history, name, expected[name][0])
            for key, values in expected[name][0].items():
                np.testing.assert_allclose(
                    carried[key][name], values, rtol=1e-9, err_msg=name)
        assert set(carried) == {
            *expected['weight'][0], 'iteration', 'parts', 'settings'
        }
        args = (carried, as_anchor(params))
    # Not one of them is trivial.
    assert expected['weight'][1].max() > 0.999 and expected['weight'][1].min(
    ) < 1


@pytest.mark.parametrize('cfg', CONFIGS, ids=IDS)
def test_under_bfloat16_equal_formula(cfg):
    """Autocast leaves weights, gradients and importances in float32."""
    ends = []
    for enabled in (True, False):
        params = {
            name: param.detach().float().requires_grad_()
            for name, param in draw_params(3).items()
        }
        regularizer = MODELS.build(cfg)
        regularizer.start(params)
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=enabled):
            history = train(regularizer, params, 7)
        ends.append(history[-1][0]['weight'])
        carried = finish(regularizer)
        for name in params:
            for key, values in slow_step(cfg, history, name, {})[0].items():
                value = carried[key][name]
                assert value.dtype == torch.float32
                np.testing.assert_allclose(
                    value, values, rtol=1e-4, err_msg=name)
    assert not np.array_equal(*ends)


@pytest.mark.parametrize('cfg', CONFIGS, ids=IDS)
def test_importance_is_in_its_range(cfg):
    params, regularizer = begin(cfg, 0, 3)
    train(regularizer, params, 7)
    args = (finish(regularizer), as_anchor(params))
    params, regularizer = begin(cfg, 1, 5, *args)
    highest = 2 if cfg['type'] == 'RiemannianWalk' else 1
    for name, omega in zip(params, regularizer.quadratic.omega):
        assert omega.min() >= 0 and omega.max() <= highest
        # A single number has no range, an unused weight no gradient.
        assert (omega.max() > 0) == (name in ('weight', 'bias'))
        if name in ('weight', 'bias'):
            assert torch.all(omega[3:] == 0)


@pytest.mark.parametrize('cfg', CONFIGS, ids=IDS)
def test_no_iteration_copies_to_the_cpu(cfg):
    """Tensors without data cannot be copied."""

    def empty():
        return {
            n: torch.empty_like(p, device='meta').requires_grad_()
            for n, p in draw_params(3).items()
        }

    params, regularizer = empty(), MODELS.build(cfg)
    carried = {
        name: {
            n: p.detach()
            for n, p in empty().items()
        }
        for name in regularizer.carried
    }
    regularizer.start(params, dict(carried, iteration=1), as_anchor(empty()))
    for _ in range(4):
        for param in params.values():
            param.grad = torch.empty_like(param)
        regularizer.watch()
        regularizer.pull_back()
    assert {p.grad.device.type for p in params.values()} == {'meta'}
    with pytest.raises((NotImplementedError, RuntimeError), match='meta'):
        float(regularizer.penalty())


@pytest.mark.parametrize('cfg', CONFIGS, ids=IDS)
def test_penalty_holds_weights(cfg):
    """Nearer to the step before than without it."""
    params, regularizer = begin(cfg, 0, 3)
    train(regularizer, params, 7)
    carried, anchor = finish(regularizer), as_anchor(params)
    moved = []
    for weight in (0., 5.):
        regularizer = MODELS.build(dict(cfg, loss_weight=weight))
        params = {n: p.clone().requires_grad_() for n, p in anchor.items()}
        regularizer.start(params, carried, anchor)
        train(regularizer, params, 10, first=50)
        moved.append(
            sum((o * (p.detach() - anchor[n])**2).sum().item() for o, (
                n, p) in zip(regularizer.quadratic.omega, params.items())))
    assert 0 < moved[1] < moved[0]


@pytest.mark.parametrize('cfg', CONFIGS, ids=IDS)
def test_state_mid_step_goes_on_as_uninterrupted(cfg):
    params, regularizer = begin(cfg, 0, 3)
    train(regularizer, params, 7)
    args = (finish(regularizer), as_anchor(params))

    params, regularizer = begin(cfg, 1, 5, *args)
    train(regularizer, params, 4)
    file = io.BytesIO()
    torch.save((regularizer.state_dict(), as_anchor(params)), file)
    train(regularizer, params, 4, first=4)
    expected = finish(regularizer)

    file.seek(0)
    state, weights = torch.load(file, weights_only=True)
    params = {n: p.requires_grad_() for n, p in weights.items()}
    regularizer = MODELS.build(cfg)
    regularizer.start(params, *args)
    regularizer.load_state_dict(state)
    train(regularizer, params, 4, first=4)
    carried = finish(regularizer)
    assert carried.pop('iteration') == expected.pop('iteration') == 8
    assert carried.pop('settings') == expected.pop('settings')
    for key, values in expected.items():
        for name, value in values.items():
            assert torch.equal(carried[key][name], value), (key, name)


def test_fisher_with_alpha_1_is_the_last_gradient():
    params, regularizer = begin(
        dict(type='ElasticWeightConsolidation', alpha=1.), 0, 3)
    history = train(regularizer, params, 3)
    for name, fisher in finish(regularizer)['fisher'].items():
        np.testing.assert_allclose(fisher, history[-2][1][name]**2)


def test_paths_of_paper_sum_up_to_the_decrease_of_the_loss():
    """With small steps, as in eq. 2 of the paper of PI."""
    params, regularizer = begin(dict(type='PathIntegral', mode='paper'), 0, 3)
    optimizer = torch.optim.SGD(params.values(), lr=1e-5)
    start = loss_of(params, 0).item()
    for _ in range(200):
        optimizer.zero_grad()
        loss_of(params, 0).backward()
        regularizer.watch()
        optimizer.step()
    regularizer.finish()
    decrease = start - loss_of(params, 0).item()
    path = sum(path.sum().item() for path in regularizer.state['path'])
    assert decrease > 0
    assert path == pytest.approx(decrease, rel=1e-3)


@pytest.mark.parametrize('cls, weight', [(ElasticWeightConsolidation, 500.),
                                         (PathIntegral, 500.),
                                         (RiemannianWalk, 100.)])
def test_defaults(cls, weight):
    regularizer = MODELS.build(dict(type=cls.__name__))
    assert type(regularizer) is cls and regularizer.loss_weight == weight
    with pytest.raises(
            IncrementalConfigError, match=f"'{cls.__name__}' is -1"):
        cls(loss_weight=-1)


def test_refuses_mode():
    with pytest.raises(
            IncrementalConfigError, match="mode='mine' is unknown; .*'paper'"):
        PathIntegral(mode='mine')


@pytest.mark.parametrize('cfg, message', [
    (dict(type='RiemannianWalk', interval=0), 'interval=0 is no number'),
    (dict(type='PathIntegral', damping=0), 'damping=0 is no finite number'),
    (dict(type='RiemannianWalk', alpha=2), 'RiemannianWalk.alpha=2 is no'),
    (dict(type='ElasticWeightConsolidation', alpha='x'), "alpha='x' is no"),
])
def test_arguments_out_of_range(cfg, message):
    with pytest.raises(IncrementalConfigError, match=message):
        MODELS.build(cfg)
