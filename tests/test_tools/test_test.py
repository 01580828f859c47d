import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Callable

import pytest

from mmseg_incremental.engine import run_steps

ROOT = Path(__file__).resolve().parents[2]
TINY = str(ROOT / 'tests' / 'configs' / 'tiny_shapes.py')

_TINY_RUN = runpy.run_path(str(ROOT / 'tests' / 'tiny_run.py'))
shapes_root, tiny_cfg = _TINY_RUN['shapes_root'], _TINY_RUN['tiny_cfg']


@pytest.fixture(scope='module')
def trained(tiny_cfg: Callable,
            tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run of which step 0 is trained."""
    work_dir = tmp_path_factory.mktemp('tool') / 'work'
    cfg = tiny_cfg(work_dir, **{
        'num_panel_images': 0,
        'train_cfg.max_iters': 1
    })
    return SimpleNamespace(
        work_dir=work_dir,
        record=run_steps(cfg, steps=[0])['steps'][0],
        final=str(work_dir / 'step_0' / 'final.pth'))


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, shapes_root: Path,
         trained: SimpleNamespace) -> Callable:
    """Run the tool in this process."""
    tool = runpy.run_path(str(ROOT / 'tools' / 'test.py'))['main']
    monkeypatch.setenv('LOCAL_RANK', '0')

    def run(*argv: str, options: tuple = ()) -> None:
        monkeypatch.setattr('sys.argv', [
            'test.py', TINY, '--work-dir',
            str(trained.work_dir), *argv, '--cfg-options',
            f'data_root={shapes_root}', 'num_panel_images=0', *options
        ])
        tool()

    return run


@pytest.mark.parametrize('argv', [[], ['--steps', '0']])
def test_trained_steps(main, trained, capsys, argv):
    record = trained.work_dir / 'step_0' / 'results.json'
    record.unlink()
    main(*argv)
    assert json.loads(record.read_text()) == trained.record
    out = capsys.readouterr().out
    assert 'background, ..., gear (19)' in out
    assert f'{trained.record["mIoU"]:.2f}' in out


def test_one_checkpoint(main, trained, capsys):
    main('--steps', '0', '--checkpoint', trained.final)
    out = capsys.readouterr().out.splitlines()
    for name in ('mIoU', 'mIoU_no_bg'):
        assert f'{name}: {trained.record[name]:.2f}' in out
    assert f'IoU/disc: {trained.record["iou"]["disc"]:.2f}' in out


@pytest.mark.parametrize('argv, options, sentence', [
    (['--steps', '1'], (), 'step_1/final.pth does not exist; train the step'),
    (['--steps', '5'], (), '--steps names step 5'),
    (['--steps', '0', '--checkpoint', 'a.pth'], (), '--checkpoint a.pth does'),
    (['--steps', '0,1', '--checkpoint', 'a.pth'], (), 'name with --steps the'),
    (['--steps', '1', '--checkpoint', '{final}'], (), 'but step 1 has'),
    (['--work-dir', 'none'], (), 'none/step_0/final.pth does not exist'),
    (['--method', 'lwf'], (), "holds a run with method='mib', not 'lwf'"),
    ([], ('scenario.setting=disjoint', ), "setting='overlapped', not 'disj"),
])
def test_bad_input(main, trained, capsys, argv, options, sentence):
    argv = [value.format(final=trained.final) for value in argv]
    with pytest.raises(SystemExit) as info:
        main(*argv, options=options)
    assert info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1
    assert sentence in error
