import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Callable, List

import pytest
import torch
from mmengine.device import get_device

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'train.py'
CONFIGS = ROOT / 'configs' / 'incremental'
TINY = ROOT / 'tests' / 'configs' / 'tiny_shapes.py'

shapes_root = runpy.run_path(str(ROOT / 'tests/tiny_run.py'))['shapes_root']


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable:
    """Run the tool in this process, in an empty directory."""
    tool = runpy.run_path(str(TOOL))['main']
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> None:
        monkeypatch.setattr('sys.argv', [str(TOOL), *argv])
        tool()

    return run


@pytest.fixture
def refused(main: Callable, capsys: pytest.CaptureFixture, tmp_path: Path,
            shapes_root: Path) -> Callable:
    """Run the tool with what it must refuse; return its sentence."""

    def run(*argv: str, options: tuple = (), config: Path = TINY) -> str:
        before = snapshot(tmp_path)
        with pytest.raises(SystemExit) as info:
            main(
                str(config), *argv, '--cfg-options',
                f'data_root={shapes_root}', *options)
        assert info.value.code == 2
        error = capsys.readouterr().err
        assert error.startswith('error: ') and error.count('\n') == 1
        assert 'Traceback' not in error
        # Nothing is overwritten or left behind.
        assert snapshot(tmp_path) == before
        return error

    return run


def snapshot(root: Path) -> List[tuple]:
    return sorted((p, p.stat().st_mtime_ns) for p in root.rglob('*'))


def saved(path: Path, *classes: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = dict(dataset_meta=dict(classes=classes)) if classes else {}
    torch.save(dict(meta=meta, state_dict=dict(a=torch.ones(1))), path)
    return str(path)


@pytest.mark.parametrize(
    'config', sorted(CONFIGS.glob('*.py')), ids=lambda path: path.stem)
def test_dry_run(main, capsys, tmp_path, shapes_root, config):
    # The empty folder stands for data that is not there yet.
    root = shapes_root if 'shapes' in config.name else tmp_path / 'none'
    options = [
        f'{split}_dataloader.dataset.dataset.{key}={value}'
        for split in ('train', 'test')
        for key, value in (('num_train', 24), ('num_val', 8), ('size', 64))
    ] if 'shapes' in config.name else []
    main(
        str(config), '--dry-run', '--cfg-options', f'data_root={root}',
        *options)
    out = capsys.readouterr().out
    assert 'new classes' in out and f'work_dirs/{config.stem}' in out
    assert ('Images are not counted' in out) == ('shapes' not in config.name)
    assert not list(tmp_path.iterdir())


def test_dry_run_of_some_steps(main, capsys, shapes_root):
    main(
        str(TINY), '--dry-run', '--steps', '1-2', '--method', 'lwf',
        '--cfg-options', f'data_root={shapes_root}')
    out = capsys.readouterr().out
    assert 'method lwf, 3 steps' in out
    assert 'letter_h' in out and 'disc' not in out


@pytest.mark.parametrize('options, sentence', [
    (['scenario.task=15-7'], "scenario.task='15-7'.* use an increment of 1, "),
    (['scenario.task=abc'], "scenario.task='abc' is no task: use 'B-I'"),
    (['scenario.task=[[disc,unicorn],[ring]]'],
     "scenario.task holds 'unicorn', which is no class"),
    (['scenario.task=[[disc,discs],[ring]]'], "did you mean 'disc'"),
    (['scenario.task=[[disc,ring],[ring]]'], "scenario.task holds 'ring' tw"),
    (['scenario.setting=joined'],
     "scenario.setting='joined' is unknown: use one of 'overlapped', 'disj"),
    (['scenario.protocol=PLOP'], "scenario.protocol='PLOP' is unknown"),
    (['scenario.tasks=15-1'], "scenario.tasks='15-1' is unknown .*'task'"),
    (['scenario.class_order=[1,1,2]'], 'scenario.class_order holds 1 twice'),
    (['scenario.class_order=[1,2,3]'],
     'scenario.class_order lists 3 of the 20 .*: add the labels'),
    (['scenario.class_order=ade_b'], "class_order='ade_b' orders 150 classes"),
    (['scenaro.task=15-1'], "sets 'scenaro', .* mean 'scenario'"),
    (['method.distilation=1'], "method.distilation=1 .*'distillation'"),
    (['model.type=Mask2Former'], "model.type='Mask2Former' .* EncoderDecoder"),
    (['model.decode_head.type=EncHead'], 'the head EncHead .* ASPPHead'),
    (['model.decode_head.type=ASPHead'], 'ASPHead is not in the'),
    (['model.decode_head.loss_decode.use_sigmoid=True'], 'use_sigmoid=False'),
    (['model.backbone.init_cfg.type=Pretrained',
      'model.backbone.init_cfg.checkpoint=no.pth'],
     "pretrained='no.pth' does not exist"),
    (['train_dataloader.dataset.dataset.data_prefix.img_path=JPEGImages',
      'train_dataloader.dataset.dataset.data_prefix.seg_map_path=none'],
     "24 of 24 masks do not exist, the first is '.*none/train_00000.png'"),
    (['train_dataloader.dataset.dataset.data_prefix.img_path=none',
      'train_dataloader.dataset.dataset.data_prefix.seg_map_path='
      'SegmentationClass'], '24 of 24 images of step 0 do not exist'),
    (['train_dataloader.dataset.dataset.num_train=25'],
     'num_train=24.*num_train=25.* is asked for'),
    (['train_dataloader.dataset.dataset.ann_file=none.txt'],
     "data_root=.* cannot be read: .*none.txt"),
])  # yapf: disable
def test_options_that_are_refused(refused, options, sentence):
    error = refused(options=options)
    assert re.search(sentence, error), error


@pytest.mark.parametrize('argv, sentence', [
    (['--method', 'mbi'], "--method 'mbi' is unknown .did you mean 'mib'"),
    (['--steps', '0-3'], "--steps names step 3, .* steps 0 to 2"),
    (['--steps', '1;2'], "--steps '1;2' is no range of steps; allowed are"),
    (['--steps', '1'], 'step 1 starts from .*step_0/final.pth, which does'),
    (['--base-checkpoint', 'no.pth'], '--base-checkpoint no.pth does not ex'),
    (['--base-checkpoint', 'no.pth', '--dry-run'], 'no.pth does not exist'),
    (['--base-checkpoint', 'no.pth', '--method', 'joint'
      ], "--base-checkpoint no.pth cannot be used with method 'joint'"),
    (['--method', 'joint', '--steps', '1'], 'has the steps 0 to 0'),
    (['--launcher', 'mpi'], '--launcher mpi needs a GPU'),
    (['--amp'], '--amp needs a GPU'),
])
def test_arguments_that_are_refused(refused, argv, sentence):
    if get_device() != 'cpu' and argv[0] in ('--amp', '--launcher'):
        pytest.skip('there is a GPU')
    error = refused(*argv)
    assert re.search(sentence, error), error


def test_config_missing(refused):
    error = refused(config=Path('none.py'))
    assert "config 'none.py' does not exist; the shipped ones are in" in error


def test_config_without_scenario(refused, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text("data_root = ''\nmodel = dict(type='EncoderDecoder')\n")
    assert 'has no key "scenario"' in refused(config=config)


@pytest.mark.parametrize('name', ['voc_15-5', 'ade_100-50'])
def test_wrong_data_root(refused, tmp_path, name):
    config = tmp_path / 'config.py'
    config.write_text(f"_base_ = 'mmseg_incremental::incremental/{name}.py'\n"
                      # Smaller than a ResNet-101, since the model comes first.
                      'model = dict(backbone=dict(depth=18), '
                      'decode_head=dict(in_channels=512))\n')
    error = refused(config=config, options=['data_root=/no/where'])
    assert "data_root='/no/where'" in error and 'set data_root' in error


@pytest.mark.parametrize('classes, sentence', [
    (['background', 'unicorn'], r"has \['unicorn'\] besides; allowed is"),
    ([], 'does not fit the model of the config: .* is missing, and'),
])
def test_base_checkpoint_of_something_else(refused, tmp_path, classes,
                                           sentence):
    path = saved(tmp_path / 'base.pth', *classes)
    error = refused('--base-checkpoint', path)
    assert re.search(f'--base-checkpoint {path} .*{sentence}', error), error


def test_finished_step_without_resume(refused, tmp_path):
    saved(tmp_path / 'work' / 'step_0' / 'final.pth')
    error = refused('--work-dir', 'work')
    assert 'work/step_0/final.pth exists already; pass --resume' in error


def test_work_dir_of_another_run(refused, tmp_path):
    (tmp_path / 'work').mkdir()
    held = dict(method='mib', scenario=dict(task='15-1'))
    (tmp_path / 'work' / 'run.json').write_text(json.dumps(held))
    error = refused('--work-dir', 'work', '--method', 'lwf', '--resume')
    assert "work holds a run with" in error and 'choose another' in error


def test_as_a_command(shapes_root, tmp_path):
    """Exit code and streams of a real process."""
    result = subprocess.run([
        sys.executable,
        str(TOOL),
        str(TINY), '--cfg-options', f'data_root={shapes_root}',
        'scenario.task=15-7'
    ],
                            cwd=tmp_path,
                            env=dict(os.environ, OMP_NUM_THREADS='1'),
                            capture_output=True,
                            text=True)
    assert result.returncode == 2
    assert 'Traceback' not in result.stderr
    # What comes before are warnings of the host when it is imported.
    errors = [x for x in result.stderr.splitlines() if x.startswith('error')]
    assert errors == result.stderr.splitlines()[-1:]
    assert "scenario.task='15-7'" in errors[0]
    assert not list(tmp_path.iterdir())
