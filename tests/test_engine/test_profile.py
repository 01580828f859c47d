import json
import time
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

from mmseg_incremental.engine import profile, run_steps
from mmseg_incremental.engine import step as one_step
from mmseg_incremental.engine import steps
from mmseg_incremental.engine.profile import (Profile, profile_table,
                                              save_profile, start_profile,
                                              stop_phase)
from mmseg_incremental.errors import IncrementalConfigError

BESIDE = ('all but first iteration, iterations, validation, '
          'evaluation: forward')


@HOOKS.register_module()
class SlowValidation(Hook):

    def before_val_epoch(self, runner):
        time.sleep(0.3)


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(profile.time, 'perf_counter', lambda: now.seconds)
    return now


def test_every_moment_has_a_phase(clock, tmp_path, capsys):
    cfg = Config(dict(profile=True, work_dir=str(tmp_path)))
    start_profile(cfg)
    for seconds, phase in ((1, 'checks'), (1, 'building'), (4, 'iterations'),
                           (5, 'building'), (8, 'iterations')):
        clock.seconds = seconds
        stop_phase(cfg, phase)
    save_profile(cfg)
    content = json.loads((tmp_path / 'profile.json').read_text())
    assert content['phases'] == dict(
        checks=dict(seconds=1.0, times=1),
        iterations=dict(seconds=6.0, times=2),
        building=dict(seconds=1.0, times=2))
    lines = capsys.readouterr().out.split('\n')
    rows = [line.split('|')[1:-1] for line in lines if line.startswith('|')]
    rows = {row[0].strip(): [c.strip() for c in row[1:]] for row in rows}
    assert rows['iterations'] == ['6.00', '2', '3.00', '75.0']
    assert rows['all'] == ['8.00', '', '4.00', '100.0']
    assert rows[BESIDE] == ['2.00', '', '1.00', '25.0']


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
    save_profile(cfg)
    assert not Profile.check_instance_created(cfg.work_dir)
    assert not list(tmp_path.iterdir())
    assert not capsys.readouterr().out


def test_table_of_a_run_without_work():
    assert '100.0' in profile_table(dict(checks=dict(seconds=1, times=1)))


def read(folder):
    return json.loads((folder / 'profile.json').read_text())['phases']


def test_parts_of_a_run_are_added(clock, tmp_path):
    cfg = Config(dict(profile=True, work_dir=str(tmp_path)))
    for phase in ('results', 'report'):
        start_profile(cfg)
        clock.seconds += 2.0
        stop_phase(cfg, 'checks')
        stop_phase(cfg, phase)
        save_profile(cfg)
    assert read(tmp_path)['checks'] == dict(seconds=4.0, times=2)
    assert list(read(tmp_path)) == ['checks', 'results', 'report']


def test_a_refused_run_leaves_nothing(tiny_cfg, tmp_path):
    cfg = tiny_cfg(tmp_path / 'run', profile=True)
    with pytest.raises(IncrementalConfigError, match='does not exist'):
        run_steps(cfg, steps=[1])
    assert not (tmp_path / 'run').exists()


def test_an_interrupted_run_is_kept(tiny_cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(steps, 'evaluate_step', lambda *_, **__: 1 / 0)
    cfg = tiny_cfg(tmp_path, profile=True)
    with pytest.raises(ZeroDivisionError):
        run_steps(cfg, steps=[0])
    assert read(tmp_path)['iterations']['times'] == 2


def test_phases_of_a_run(tiny_cfg, tmp_path, monkeypatch):
    release = one_step.release_workers

    def slow_release(runner):
        time.sleep(0.5)
        release(runner)

    monkeypatch.setattr(one_step, 'release_workers', slow_release)
    cfg = tiny_cfg(
        tmp_path,
        profile=True,
        validate_during_step=True,
        **{
            'train_cfg.val_interval': 1,
            'default_hooks.checkpoint.interval': 1,
            'custom_hooks': [dict(type='SlowValidation')]
        })
    start = time.perf_counter()
    run_steps(cfg, steps=[0, 1])
    elapsed = time.perf_counter() - start
    phases = read(tmp_path)
    total = sum(phase['seconds'] for phase in phases.values())
    assert 0.95 * elapsed < total <= elapsed
    # Three iterations of step 0 and two of step 1.
    times = dict(iterations=3, validation=5, building=2, loading=1, results=2)
    times.update({'first iteration': 2, 'waiting for data': 3})
    times.update({'first batch': 2, 'preparation': 2})
    times.update({'evaluation: building': 2, 'evaluation: loading': 2})
    assert {name: phases[name]['times'] for name in times} == times
    seconds = {name: phase['seconds'] for name, phase in phases.items()}
    assert seconds['validation'] > 5 * 0.3
    assert seconds['release'] > 1 and seconds['evaluation: release'] > 1
    # Each is written after an iteration and before a validation.
    assert 0 < seconds['checkpoints'] < 1.5
    assert phases['evaluation: forward']['times'] == phases[
        'evaluation: inputs']['times']
    assert list(phases)[0] == 'checks' and list(phases)[-1] == 'report'
