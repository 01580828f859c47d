from types import SimpleNamespace

import pytest
import torch
from mmseg.registry import HOOKS

from mmseg_incremental.errors import IncrementalConfigError


def look(iteration: int, **outputs: float) -> None:
    """Look at the outputs of one of a hundred iterations, every tenth."""
    hook = HOOKS.build(dict(type='InvalidLossHook', interval=10))
    runner = SimpleNamespace(
        iter=iteration - 1, max_iters=95, work_dir='work/step_1')
    outputs = {key: torch.tensor(value) for key, value in outputs.items()}
    hook.after_train_iter(runner, 0, None, outputs)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('iteration', [10, 20, 95])
def test_diverged(iteration, value):
    with pytest.raises(
            IncrementalConfigError, match='loss_ce is .* of work/step_1.*lr'):
        look(iteration, loss=1.0, loss_ce=value)


@pytest.mark.parametrize('iteration, outputs', [
    (10, dict(loss=1.0, acc_seg=float('nan'))),
    (9, dict(loss=float('nan'))),
])
def test_goes_on(iteration, outputs):
    look(iteration, **outputs)
