import re
import runpy
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / 'tests' / 'configs' / 'tiny_shapes.py'


@pytest.fixture
def tool():
    return runpy.run_path(str(ROOT / 'tools' / 'repeat.py'))


@pytest.fixture
def repeat(tool, monkeypatch, tmp_path):
    """Run the tool in this process, below the test's folder."""

    def run(*argv: str) -> Path:
        monkeypatch.setattr('sys.argv', [
            'repeat.py',
            str(TINY), '--work-dir',
            str(tmp_path / 'work'), *argv
        ])
        tool['main']()
        return tmp_path / 'work'

    return run


@pytest.fixture
def trainings(monkeypatch, save_run):
    """What would be trained, with the seed for an IoU."""
    seen = []

    def train(command, **kwargs):
        # After the interpreter and the tool.
        values = dict(zip(command[3::2], command[4::2]))
        seed = int(command[-1].rpartition('=')[2])
        seen.append(SimpleNamespace(command=command, seed=seed, **kwargs))
        work_dir = command[command.index('--work-dir') + 1]
        save_run(work_dir, values['--method'], seed, seed)
        kwargs['stdout'].write('trained\n')
        return SimpleNamespace(returncode=int(seed == 13))

    monkeypatch.setattr(subprocess, 'run', train)
    return seen


def names(trainings: list) -> list:
    """Folders of runs, in order, and of the bases they start from."""
    found = []
    for command in (run.command for run in trainings):
        folder = command[command.index('--work-dir') + 1]
        base = None
        if '--base-checkpoint' in command:
            path = Path(command[command.index('--base-checkpoint') + 1])
            assert path.name == 'final.pth' and path.parent.name == 'step_0'
            base = path.parents[1].name
        found.append((Path(folder).name, base))
    return found


def test_methods_of_a_seed_start_from_one_base(repeat, trainings, capsys):
    work = repeat('--methods', 'mib', 'ewc', '--seeds', '1', '3',
                  '--cfg-options', 'data_root=a b', 'num_panel_images=0')
    assert names(trainings) == [('importances_seed1', None),
                                ('importances_seed3', None),
                                ('mib_seed1', 'importances_seed1'),
                                ('ewc_seed1', 'importances_seed1'),
                                ('mib_seed3', 'importances_seed3'),
                                ('ewc_seed3', 'importances_seed3')]
    for index, run in enumerate(trainings):
        assert ('--steps' in run.command) == (index < 2)
        assert '--resume' in run.command
        assert run.command[-4:] == [
            '--cfg-options', 'data_root=a b', 'num_panel_images=0',
            f'randomness.seed={run.seed}'
        ]
    assert (work / 'mib_seed1.log').read_text() == 'trained\n'
    out = capsys.readouterr().out
    assert '2.00 ± 1.41' in out and '| ewc ' in out


def test_methods_with_a_step_0_of_their_own(repeat, trainings):
    repeat('--methods', 'lwf_mc', 'joint', 'finetune', '--seeds', '1',
           '--base-method', 'finetune')
    assert names(trainings) == [('lwf_mc_seed1', None), ('joint_seed1', None),
                                ('finetune_seed1', None)]
    # The base is one of the methods, so all its steps are trained.
    assert all('--steps' not in run.command for run in trainings)


@pytest.mark.parametrize('amp', [True, False])
def test_mixed_precision_goes_on(tool, amp):
    args = SimpleNamespace(
        config='a.py',
        work_dir='work',
        amp=amp,
        base_method='mib',
        methods=['mib'],
        option_texts=[])
    assert ('--amp' in tool['plan'](args, 'mib', 1, None).command) == amp


def test_folder_of_other_runs_is_refused(repeat, trainings, capsys):
    options = '--cfg-options', 'num_panel_images=0', '--cfg-options'
    repeat('--methods', 'mib', '--seeds', '1', *options, 'log_level=ERROR')
    # Given in two parts, both reach the training.
    assert trainings[0].command[-3:-1] == [
        'num_panel_images=0', 'log_level=ERROR'
    ]
    repeat('--methods', 'ewf', '--seeds', '2', *options, 'log_level=ERROR')
    with pytest.raises(SystemExit):
        repeat('--methods', 'mib', '--seeds', '3', *options[:2])
    assert "holds runs with option_texts=['num" in capsys.readouterr().err
    assert len(trainings) == 4


def test_failed_run_is_named(repeat, trainings, capsys):
    with pytest.raises(SystemExit):
        repeat('--methods', 'mib', '--seeds', '1', '13')
    # The other base is trained, nothing starts from them.
    assert len(trainings) == 2
    assert '1 of 2 runs failed; read ' in capsys.readouterr().err


@pytest.mark.parametrize(
    'argv, sentence',
    [(('--methods', 'mib', 'mib'), '--methods .* names one twice'),
     (('--methods', 'mib', '--seeds', '1', '1'), '--seeds .* names one twice'),
     (('--methods', 'mib', '--parallel', '0'), '--parallel 0 is no number'),
     (('--methods', 'lwf_mc', 'mib', '--base-method', 'lwf_mc'),
      '--base-method lwf_mc trains step 0'),
     (('--methods', 'none'), "method 'none'|none.*no")])
def test_bad_input_trains_nothing(repeat, trainings, capsys, argv, sentence):
    with pytest.raises(SystemExit):
        repeat(*argv)
    assert not trainings
    assert re.search(sentence, capsys.readouterr().err)


def test_cores_are_shared(repeat, trainings, monkeypatch):
    monkeypatch.setattr('os.cpu_count', lambda: 8)
    monkeypatch.delenv('OMP_NUM_THREADS', raising=False)
    repeat('--methods', 'joint', '--seeds', '1', '--parallel', '3')
    monkeypatch.setenv('OMP_NUM_THREADS', '5')
    repeat('--methods', 'joint', '--seeds', '1', '--parallel', '3')
    assert [run.env['OMP_NUM_THREADS'] for run in trainings] == ['2', '5']


@pytest.mark.slow
def test_real_run(repeat, tmp_path, capsys):
    command = ('--methods', 'finetune', '--seeds', '5', '--cfg-options',
               f'data_root={tmp_path / "shapes"}', 'num_panel_images=0')
    work = repeat(*command)
    assert '| finetune |    1 |' in capsys.readouterr().out
    final = work / 'finetune_seed5' / 'step_2' / 'final.pth'
    before = final.stat().st_mtime_ns
    # Started again it has nothing left to train.
    repeat(*command)
    assert final.stat().st_mtime_ns == before
