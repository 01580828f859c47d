import json
import time
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from mmseg_incremental.engine import profile, run_steps
from mmseg_incremental.engine.profile import (Profile, profile_table,
                                              save_profile, start_profile,
                                              stop_phase)


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(profile.time, 'perf_counter', lambda: now.seconds)
    return now


def test_every_moment_has_a_phase(clock, tmp_path, capsys):
    cfg = Config(dict(profile=True, work_dir=str(tmp_path)))
    start_profile(cfg)
    for seconds, phase in ((1, 'checks'), (4, 'iterations'), (5, 'results'),
                           (8, 'iterations')):
        clock.seconds = seconds
        stop_phase(cfg, phase)
    save_profile(cfg, 2)
    content = json.loads((tmp_path / 'profile.json').read_text())
    assert content['num_steps'] == 2
    assert content['phases'] == dict(
        checks=dict(seconds=1.0, times=1),
        iterations=dict(seconds=6.0, times=2),
        results=dict(seconds=1.0, times=1))
    lines = capsys.readouterr().out.split('\n')
    rows = [line.split('|')[1:-1] for line in lines if line.startswith('|')]
    rows = {row[0].strip(): [c.strip() for c in row[1:]] for row in rows}
    assert rows['iterations'] == ['6.00', '2', '3.00', '75.0']
    assert rows['all'] == ['8.00', '', '4.00', '100.0']
    assert rows['beside iterations and forward passes'] == [
        '2.00', '', '1.00', '25.0'
    ]


def test_a_second_run_starts_at_zero(clock, tmp_path):
    cfg = Config(dict(profile=True, work_dir=str(tmp_path)))
    start_profile(cfg)
    clock.seconds = 3.0
    stop_phase(cfg, 'checks')
    start_profile(cfg)
    assert Profile.get_instance(cfg.work_dir).to_dict() == {}
    clock.seconds = 4.0
    stop_phase(cfg, 'checks')
    assert Profile.get_instance(cfg.work_dir).seconds == dict(checks=1.0)


def test_nothing_where_it_is_not_asked_for(tmp_path, capsys):
    cfg = Config(dict(work_dir=str(tmp_path)))
    start_profile(cfg)
    stop_phase(cfg, 'checks')
    save_profile(cfg, 1)
    assert not Profile.check_instance_created(cfg.work_dir)
    assert not list(tmp_path.iterdir())
    assert not capsys.readouterr().out


def test_table_of_a_run_without_work():
    assert '100.0' in profile_table(dict(checks=dict(seconds=1, times=1)), 1)


def test_phases_of_a_run(tiny_cfg, tmp_path):
    cfg = tiny_cfg(tmp_path, profile=True, validate_during_step=True)
    start = time.perf_counter()
    run_steps(cfg, steps=[0, 1])
    elapsed = time.perf_counter() - start
    content = json.loads((tmp_path / 'profile.json').read_text())
    phases = content['phases']
    total = sum(phase['seconds'] for phase in phases.values())
    assert 0.95 * elapsed < total <= elapsed
    # Three of step 0 and two of step 1.
    num_iters = 5
    assert phases['iterations']['times'] == num_iters
    # A first batch a step is counted by itself.
    assert phases['waiting for data']['times'] == num_iters - 2
    assert phases['validation']['times'] == 1
    assert phases['checkpoints']['times'] >= 2
    for name in ('building', 'loading', 'first batch', 'evaluation: building',
                 'evaluation: loading', 'evaluation: first batch', 'results'):
        assert phases[name]['times'] == 2
    assert phases['evaluation: forward']['times'] == phases[
        'evaluation: inputs']['times']
    assert list(phases)[0] == 'checks' and list(phases)[-1] == 'report'
