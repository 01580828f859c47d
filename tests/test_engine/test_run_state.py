import json
from pathlib import Path
from typing import Callable

import pytest
from mmengine.config import Config

from mmseg_incremental.engine.run_state import (check_run, check_same_run,
                                                check_steps, claim_work_dir)
from mmseg_incremental.errors import IncrementalConfigError


@pytest.fixture
def cfg(tiny_cfg: Callable, tmp_path: Path) -> Config:
    return tiny_cfg(tmp_path / 'work')


def finish(cfg: Config, *steps: int) -> None:
    for step in steps:
        path = Path(cfg.work_dir) / f'step_{step}' / 'final.pth'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')


def check(cfg, steps, resume=False, base_checkpoint=None):
    check_run(cfg, steps, resume, base_checkpoint)


@pytest.mark.parametrize('finished, steps, resume, base', [
    ([], [0, 1, 2], False, None),
    ([], [0], False, None),
    ([], [0, 1], True, None),
    ([], [0, 1], False, 'b.pth'),
    ([], [1, 2], False, 'b.pth'),
    ([0], [1, 2], False, None),
    ([0, 1], [2], False, None),
    ([0], [0, 1, 2], True, None),
    ([0], [0, 1], True, 'b.pth'),
    ([0, 1, 2], [0, 1, 2], True, None),
    ([0, 1, 2], [1], True, None),
    ([1, 2], [2], True, None),
])
def test_what_may_run(cfg, finished, steps, resume, base):
    finish(cfg, *finished)
    check(cfg, steps, resume, base)


@pytest.mark.parametrize('finished, steps, resume, base, message', [
    ([0], [0, 1], False, None, 'step_0/final.pth exists already.*--resume'),
    ([0, 1], [1], False, None, 'step_1/final.pth exists already'),
    ([0], [1], False, 'b.pth', 'step_0/final.pth exists already'),
    ([], [1], False, None, 'step_0/final.pth, which .* --base-checkpoint'),
    ([0], [2], False, None, r'step_1/final.pth, which .* it first\.'),
    ([], [2], False, 'b.pth', 'step 2 starts from .*step_1/final.pth'),
    ([], [0, 2], True, None, 'step 2 starts from .*step_1/final.pth'),
    ([0, 2], [1], True, None, 'step 1 is to be trained.*remove step_2 and'),
    ([1], [0], False, None, 'step 0 is to be trained.*remove step_1 and'),
    ([], [3], False, None, "step 3, but task '18-1' has the steps 0 to 2"),
    ([], [-1], False, None, 'step -1'),
])
def test_what_may_not(cfg, finished, steps, resume, base, message):
    finish(cfg, *finished)
    with pytest.raises(IncrementalConfigError, match=message):
        check(cfg, steps, resume, base)
    assert not (Path(cfg.work_dir) / 'run.json').exists()


def test_joint_has_no_base_checkpoint(cfg):
    cfg.method = dict(name='joint', joint=True)
    check(cfg, [0])
    with pytest.raises(IncrementalConfigError, match="b.pth .* 'joint'"):
        check(cfg, [0], base_checkpoint='b.pth')
    with pytest.raises(IncrementalConfigError, match='the steps 0 to 0 with'):
        check_steps(cfg, [1])


def test_a_work_dir_is_of_one_run(cfg):
    check_same_run(cfg)
    claim_work_dir(cfg)
    check_same_run(cfg)
    held = json.loads((Path(cfg.work_dir) / 'run.json').read_text())
    assert held['method'] == 'mib'
    assert held['scenario']['task'] == '18-1'


@pytest.mark.parametrize('options, message', [
    ({
        'method.name': 'other'
    }, "method='mib', not 'other'"),
    ({
        'scenario.task': '10-5'
    }, "task='18-1', not '10-5'"),
    ({
        'scenario.setting': 'disjoint'
    }, "setting='overlapped', not 'disj"),
    ({
        'scenario.protocol': 'ssul'
    }, "protocol='plop', not 'ssul'"),
    ({
        'scenario.class_order': 3
    }, 'class_order=None, not 3'),
])
def test_another_run_in_the_work_dir(cfg, options, message):
    claim_work_dir(cfg)
    cfg.merge_from_dict(options)
    with pytest.raises(IncrementalConfigError, match=message):
        check(cfg, [0], resume=True)


def test_steps_listed_in_a_config_are_the_same_when_read_back(cfg):
    cfg.scenario = dict(task=[['disc', 'square'], ['ring']])
    claim_work_dir(cfg)
    check_same_run(cfg)


def test_unfinished_step_is_not_trained_anew(cfg):
    folder = Path(cfg.work_dir) / 'step_0'
    folder.mkdir(parents=True)
    check(cfg, [0])
    (folder / 'last_checkpoint').write_text('iter_1.pth')
    with pytest.raises(
            IncrementalConfigError, match='step_0 holds an unfinished step'):
        check(cfg, [0])
    check(cfg, [0], resume=True)
