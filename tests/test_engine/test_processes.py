import sys
from pathlib import Path

import pytest

from mmseg_incremental.engine.processes import Run, share_devices, train_all
from mmseg_incremental.errors import IncrementalConfigError


@pytest.mark.parametrize('visible, count, expected', [
    (None, 0, [None, None, None]),
    (None, 1, [None, None, None]),
    (None, 2, ['0', '1', '0']),
    ('4,6', 2, ['4', '6', '4']),
])
def test_gpus_take_turns(monkeypatch, visible, count, expected):
    monkeypatch.setattr('torch.cuda.device_count', lambda: count)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible is not None:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    devices = share_devices(3)
    assert [devices.get() for _ in range(3)] == expected


def write(path: Path, text: str, seconds: float = 0.) -> list:
    """A command that appends to a file, after some time."""
    code = (f'import time; time.sleep({seconds}); '
            f'open({str(path)!r}, "a").write({text!r}); print({text!r})')
    return [sys.executable, '-c', code]


def test_groups_run_one_after_the_other(tmp_path):
    path = tmp_path / 'order'
    groups = [[
        Run(name, write(path, name, seconds), str(tmp_path / f'{name}.log'))
        for name in names
    ] for names, seconds in (('ab', 1.), ('c', 0.))]
    # The last one would find a slot at once.
    train_all(groups, 3)
    assert path.read_text() in ('abc', 'bac')
    assert (tmp_path / 'c.log').read_text() == 'c\n'


def test_group_after_a_failure_does_not_start(tmp_path):
    path, log = tmp_path / 'order', str(tmp_path / 'a.log')
    failing = Run('a', [sys.executable, '-c', 'raise SystemExit(3)'], log)
    beside = Run('b', write(path, 'b'), str(tmp_path / 'b.log'))
    with pytest.raises(
            IncrementalConfigError, match=f'1 of 2 runs failed; read {log},'):
        train_all([[failing, beside], [beside]], 1)
    assert path.read_text() == 'b'
