import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmseg_incremental.engine import build_scenario, build_step_cfg
from mmseg_incremental.engine.cli import (describe_steps, exit_on_bad_input,
                                          parse_steps)
from mmseg_incremental.errors import IncrementalConfigError


@pytest.mark.parametrize('text, steps', [
    (None, None),
    ('3', [3]),
    ('0-3', [0, 1, 2, 3]),
    ('2-2', [2]),
    ('0,2-4', [0, 2, 3, 4]),
    ('4,0-1,1', [0, 1, 4]),
])
def test_steps(text, steps):
    assert parse_steps(text) == steps


@pytest.mark.parametrize(
    'text',
    ['', '-1', '3-1', '0,3-1', '1-', 'a', '0..3', '1 2', '0-9999999', '٣'])
def test_no_steps(text):
    with pytest.raises(
            IncrementalConfigError, match=f'--steps {text!r} is no range'):
        parse_steps(text)


def test_bad_input_is_one_sentence(capsys):

    @exit_on_bad_input
    def main():
        """Documented."""
        raise IncrementalConfigError('key=1 is wrong;\n  use 2.')

    with pytest.raises(SystemExit) as info:
        main()
    assert info.value.code == 2
    captured = capsys.readouterr()
    assert captured.err == 'error: key=1 is wrong; use 2.\n'
    assert captured.out == ''
    assert main.__doc__ == 'Documented.'


def test_bugs_keep_their_traceback():

    @exit_on_bad_input
    def main():
        raise ValueError('bug')

    with pytest.raises(ValueError, match='bug'):
        main()


def rows(text: str) -> list:
    lines = [line for line in text.splitlines() if line.startswith('|')]
    return [re.split(r'\s*\|\s*', line.strip('| ')) for line in lines[1:]]


def test_table_of_steps(tiny_cfg, tmp_path):
    text = describe_steps(tiny_cfg(tmp_path / 'work'))
    assert text.splitlines()[0] == (
        'task 18-1, overlapped, method mib, 3 steps, work dir '
        f'{tmp_path / "work"}')
    # The names of step 0 take several lines.
    steps = [row for row in rows(text) if row[0].isdigit()]
    assert [[row[0], *row[2:]] for row in steps] == [['0', '19', '24', '8'],
                                                     ['1', '20', '3', '8'],
                                                     ['2', '21', '5', '8']]
    assert steps[1][1] == 'horseshoe'
    assert not (tmp_path / 'work').exists()


def test_table_of_some_steps(tiny_cfg, tmp_path):
    steps = rows(describe_steps(tiny_cfg(tmp_path), [1]))
    assert [row[0] for row in steps] == ['1']


def test_table_without_data(tiny_cfg, tmp_path):
    cfg = tiny_cfg(tmp_path / 'work')
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.dataset.dataset.data_prefix = dict(
            img_path='none', seg_map_path='none')
    text = describe_steps(cfg, [1, 2])
    assert [row[3:] for row in rows(text)] == [['-', '-']] * 2
    assert text.splitlines()[-1].startswith(
        'Images are not counted: 24 of 24 masks do not exist')


@pytest.mark.parametrize('options, kwargs, message', [
    (dict(), dict(steps=[1, 3]), 'names step 3'),
    (dict(), dict(base_checkpoint='none.pth'), 'none.pth does not exist'),
    ({
        'model.decode_head.type': 'EncHead'
    }, dict(), 'EncHead'),
    ({
        'model.type': 'SAN'
    }, dict(), "model.type='SAN'"),
    ({
        'scenario.task': '10-3'
    }, dict(), "scenario.task='10-3'"),
])
def test_what_a_run_would_refuse(tiny_cfg, tmp_path, options, kwargs, message):
    with pytest.raises(IncrementalConfigError, match=message):
        describe_steps(tiny_cfg(tmp_path, **options), **kwargs)


def test_base_checkpoint_without_importances(tiny_cfg, tmp_path):
    init_default_scope('mmseg')
    cfg = tiny_cfg(tmp_path / 'work', method='ewc')
    names = build_scenario(cfg).names(build_scenario(cfg).seen(0))
    model = MODELS.build(build_step_cfg(cfg, 0).model)
    base = str(tmp_path / 'base.pth')
    torch.save(
        dict(
            meta=dict(dataset_meta=dict(classes=names)),
            state_dict=model.state_dict()), base)
    with pytest.raises(
            IncrementalConfigError,
            match='importance.pth does not exist, so that Elastic'):
        describe_steps(cfg, base_checkpoint=base)


def test_work_dir_with_results(tiny_cfg, tmp_path):
    final = tmp_path / 'step_0' / 'final.pth'
    final.parent.mkdir()
    final.write_bytes(b'')
    assert len(rows(describe_steps(tiny_cfg(tmp_path), [2]))) == 1
    assert sorted(Path(tmp_path).rglob('*')) == [final.parent, final]
