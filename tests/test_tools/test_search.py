import json
import runpy
import shutil
from pathlib import Path

import pytest

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
        argv = list(argv)
        split = argv.index('--') if '--' in argv else len(argv)
        monkeypatch.setattr('sys.argv', [
            'tools/search.py',
            str(TINY), '--work-dir',
            str(tmp_path / 'work'), *argv[:split], '--cfg-options',
            f'data_root={root}', *argv[split + 1:]
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
    assert found['search']['option'] == OPTION
    assert [row['value'] for row in found['rows']] == [100, 1e6]
    best = max(found['rows'], key=lambda row: row['all'])['value']
    assert found['best']['all'] == best
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


def test_goes_on_with_its_own_search_only(search, capsys):
    search('--steps', '0-1', '--option', OPTION, '--values', '1')
    with pytest.raises(SystemExit):
        search('--steps', '0-1', '--option', OPTION, '--values', '1', '--',
               'train_cfg.max_iters=9')
    error = capsys.readouterr().err
    assert 'holds a search with cfg_options=' in error


def test_base_that_has_seen_the_held_out_pictures(search, capsys, tmp_path):
    full = tmp_path / 'full'
    search('--option', OPTION, '--values', '1', '--steps', '0-1', '--',
           'holdout.fraction=0.5')
    base = tmp_path / 'work' / 'base' / 'step_0' / 'final.pth'
    shutil.copytree(base.parent, full)
    shutil.rmtree(tmp_path / 'work')
    with pytest.raises(SystemExit):
        search('--option', OPTION, '--values', '1', '--base-checkpoint',
               str(full / 'final.pth'))
    assert 'so it has seen images that holdout=' in capsys.readouterr().err


@pytest.mark.parametrize('argv, sentence', [
    (['--values', '1', '1.0'], 'names a value twice'),
    (['--values', '1', '--steps', '0'], 'has no effect'),
    (['--values', '1', '--method', 'joint'], 'has no effect'),
    (['--values', 'much'], "loss_weight of 'loss_unkd'"),
    (['--values', '1', '--steps', '7'], '7'),
])
def test_refused_before_anything_is_trained(search, capsys, tmp_path, argv,
                                            sentence):
    with pytest.raises(SystemExit):
        search('--option', OPTION, *argv)
    error = capsys.readouterr().err
    assert sentence in error and error.count('\n') == 1
    assert not (tmp_path / 'work').exists()


def test_every_method_has_a_folder_of_its_own(monkeypatch):
    parse = runpy.run_path(str(ROOT / 'tools' / 'search.py'))['parse_args']
    command = [
        'tools/search.py', 'a/voc.py', '--option', 'x.y', '--values', '1'
    ]
    for method, name in (([], 'search_voc_x.y'), (['--method', 'lwf'],
                                                  'search_voc_lwf_x.y')):
        monkeypatch.setattr('sys.argv', command + method)
        assert parse().work_dir == f'work_dirs/{name}'


def test_learning_nothing_is_not_the_best_of_both(tmp_path):
    keep = runpy.run_path(str(ROOT / 'tools' / 'search.py'))['keep']
    path = tmp_path / 'search.json'
    path.write_text(json.dumps(dict(search={}, best={}, rows=[])))
    keep(str(path), dict(value=1, all=30., hIoU=0.))
    keep(str(path), dict(value=2, all=25., hIoU=9.))
    keep(str(path), dict(value=3, all=None, hIoU=None))
    assert json.loads(path.read_text())['best'] == dict(all=1, hIoU=2)


def test_split_of_the_config_stays(search, tmp_path):
    work_dir = search('--steps', '0-1', '--option', OPTION, '--values', '1',
                      '--', 'holdout.fraction=0.5', 'holdout.seed=3')
    run = json.loads((work_dir / f'{OPTION}=1/results.json').read_text())
    assert run['conventions']['holdout'] == dict(fraction=0.5, seed=3)
    assert run['steps'][0]['num_train_images'] == 12


def test_value_that_diverges_is_a_row(search, capsys, tmp_path):
    """The others count, and rows of an earlier call stay."""
    command = ('--method', 'lwf', '--steps', '0-1', '--option', OPTION)
    search(*command, '--values', '1e38', '1')
    output = capsys.readouterr().out
    assert 'the training diverged' in output and f'{OPTION}=1\n' in output
    work_dir = search(*command, '--values', '2')
    found = json.loads((work_dir / 'search.json').read_text())
    assert [row['value'] for row in found['rows']] == [1e38, 1, 2]
    assert [row['all'] is None
            for row in found['rows']] == [True, False, False]
    assert found['best']['all'] in (1, 2)
