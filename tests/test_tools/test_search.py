import json
import runpy
from pathlib import Path

import pytest
import torch

from mmseg_incremental.datasets import draw_shapes

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / 'tests' / 'configs' / 'tiny_shapes.py'
OPTION = 'method.distillation.0.loss_weight'


@pytest.fixture
def search(monkeypatch, tmp_path):
    """Run the tool in this process; return its folder."""
    main = runpy.run_path(str(ROOT / 'tools' / 'search.py'))['main']
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr('mmseg_incremental.engine.run_results.write_report',
                        lambda *args: [])
    root = tmp_path / 'shapes'
    draw_shapes(str(root), num_train=24, num_val=8, size=64)

    def run(*argv: str) -> Path:
        monkeypatch.setattr('sys.argv', [
            'tools/search.py',
            str(TINY), '--work-dir',
            str(tmp_path / 'work'), *argv, '--cfg-options', f'data_root={root}'
        ])
        main()
        return tmp_path / 'work'

    return run


@pytest.mark.slow
def test_values_start_from_one_base(search, capsys):
    command = ('--method', 'lwf', '--steps', '0-1', '--option', OPTION,
               '--values', '100', '1e6')
    work_dir = search(*command)
    found = json.loads((work_dir / 'search.json').read_text())
    assert found['option'] == OPTION
    assert [row['value'] for row in found['rows']] == [100, 1e6]
    best = max(found['rows'], key=lambda row: row['all'])['value']
    assert found['best'] == best
    assert f'{OPTION}={best}\n' in capsys.readouterr().out
    runs = [
        json.loads((work_dir / f'{OPTION}={value}/results.json').read_text())
        for value in ('100', '1000000.0')
    ]
    for run in runs:
        # A fifth of 24 pictures is held out.
        assert run['conventions']['holdout'] == dict(fraction=0.2, seed=0)
        assert run['steps'][0]['num_train_images'] == 19
        assert run['steps'][0]['iou'] == runs[0]['steps'][0]['iou']
    # So large a weight leaves its trace.
    assert runs[0]['steps'][1]['iou'] != runs[1]['steps'][1]['iou']

    # Started again it has nothing left to train.
    before = {p: p.stat().st_mtime_ns for p in work_dir.rglob('*.pth')}
    search(*command)
    assert before == {p: p.stat().st_mtime_ns for p in work_dir.rglob('*.pth')}


def test_base_that_has_seen_the_held_out_pictures(search, capsys, tmp_path):
    base = tmp_path / 'base.pth'
    torch.save(
        dict(meta=dict(incremental=dict(num_train_images=24)), state_dict={}),
        base)
    with pytest.raises(SystemExit):
        search('--option', OPTION, '--values', '1', '--base-checkpoint',
               str(base))
    error = capsys.readouterr().err
    assert 'was trained on 24 images, but the search trains on 19' in error


def test_a_value_twice(search, capsys):
    with pytest.raises(SystemExit):
        search('--option', OPTION, '--values', '1', '1')
    assert 'names a value twice' in capsys.readouterr().err
