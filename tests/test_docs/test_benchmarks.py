"""Every benchmark runs, on little work, and prints its table."""
import importlib
import re
from functools import partial
from time import sleep
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture
def rows(monkeypatch, repository, capsys):
    """Run a benchmark and read the rows of its table."""
    monkeypatch.syspath_prepend(repository / 'benchmarks')
    monkeypatch.chdir(repository)

    def run(name, *argv, **patches):
        module = importlib.import_module(name)
        for key, value in patches.items():
            monkeypatch.setattr(module, key, value)
        monkeypatch.setattr('sys.argv', [name, *argv, '--repeats', '2'])
        module.main()
        out = capsys.readouterr().out
        assert 'Python 3.' in out
        return [[cell.strip() for cell in line.split('|')[1:-1]]
                for line in out.splitlines() if line.startswith('|')][2:]

    return run


def test_losses(rows, monkeypatch, repository):
    monkeypatch.syspath_prepend(repository / 'benchmarks')
    case = importlib.import_module('losses').Case(21, 16, 8, batch=1)
    table = rows('losses', CASES=[case, case._replace(stride=1, size=32)])
    sides = [
        'cross entropy alone', 'published approach', 'readable losses',
        'fused losses'
    ]
    others = [
        'readable losses of LwF', 'fused losses of LwF',
        'fused losses, classes weighted', 'fused losses, logits in bfloat16'
    ]
    reference = 'cross entropy, softmax of the teacher'
    assert [row[1] for row in table] == [*sides, *others, *sides, reference]
    assert table[0][3] == '1.00'
    for _, _, time, ratio, quartiles, peak, _ in table:
        low, high = map(float, quartiles.split(' to '))
        assert low <= float(ratio) <= high
        assert float(time) > 0 and float(ratio) > 0 and float(peak) >= 0


def test_losses_that_differ_are_noticed(monkeypatch, repository):
    monkeypatch.syspath_prepend(repository / 'benchmarks')
    common, losses = (
        importlib.import_module(name) for name in ('common', 'losses'))
    case = losses.Case(5, 3, 8, batch=1, size=16)
    results = {
        name: losses.build(name, case)()
        for name in sum(losses.EQUAL, ())
    }
    sides = {name: partial(results.get, name) for name in results}
    common.alternate(sides, 1, losses.check_sides)
    first, other = (equal[0] for equal in losses.EQUAL)
    results[first] = results[other]
    with pytest.raises(AssertionError):
        common.alternate(sides, 1, losses.check_sides)


@pytest.mark.parametrize('device, is_fast, has_half', [
    ('cpu', True, True),
    ('cpu', False, False),
    ('cuda', False, True),
])
def test_half_precision_is_left_out(device, is_fast, has_half, monkeypatch,
                                    repository):
    monkeypatch.syspath_prepend(repository / 'benchmarks')
    iterations = importlib.import_module('iterations')
    monkeypatch.setattr(iterations, 'get_device', lambda: device)
    monkeypatch.setattr(iterations, 'has_fast_products', lambda dtype: is_fast)
    sides = ['MiB', 'MiB, teacher in bfloat16']
    assert iterations.measured(sides) == sides[:1 + has_half]


@pytest.mark.parametrize('has_half', [True, False])
def test_iterations(has_half, rows):
    table = rows(
        'iterations',
        '--batch',
        '2',
        '--models',
        'MobileNetV2-ASPP',
        peak_memories=peaks_in_this_process,
        is_fast_in_half=lambda: has_half,
        SIZE=64,
        CLASSES=((4, 3), (5, 3)))
    sides = [
        'MMSegmentation', 'MiB', 'MiB, teacher in bfloat16',
        'MiB, readable losses and plain teacher', 'networks alone',
        'networks alone, teacher in bfloat16'
    ]
    sides = [side for side in sides if has_half or 'bfloat16' not in side]
    assert [row[:2]
            for row in table] == [[f'MobileNetV2-ASPP, {classes}', side]
                                  for classes in ('4 (3 old)', '5 (3 old)')
                                  for side in sides]
    few, many = table[:len(sides)], table[len(sides):]
    assert few[0][3:] == many[0][3:] == ['1.00', '1.00 to 1.00', '1']
    # The reference is measured once.
    assert few[sides.index('networks alone')][2] == many[sides.index(
        'networks alone')][2]


def test_gpu(rows, monkeypatch, repository):
    monkeypatch.syspath_prepend(repository / 'benchmarks')
    for name in ('memory_allocated', 'max_memory_allocated', 'synchronize',
                 'reset_peak_memory_stats'):
        monkeypatch.setattr(torch.cuda, name, lambda: 0)
    table = rows(
        'gpu',
        is_cuda_available=lambda: True,
        bandwidth=lambda: 3e9,
        BATCH=2,
        SIZE=64,
        CLASSES=((21, 16), ),
        CONFIG='configs/incremental/voc_15-5_cpu.py')
    losses, iterations = table[:6], table[8:]
    assert [row[1] for row in losses][3:] == [
        'fused losses', 'fused losses, bands', 'fused cross entropy alone'
    ]
    assert losses[0][3] == iterations[0][3] == '1.00'
    assert [row[1] for row in iterations] == [
        'MMSegmentation', 'MiB', 'MiB, teacher in bfloat16',
        'MiB, readable losses'
    ]
    assert all(float(row[2]) > 0 for row in losses + iterations)


def test_gpu_is_needed(rows, capsys):
    with pytest.raises(SystemExit):
        rows('gpu', is_cuda_available=lambda: False)
    assert 'no GPU is available' in capsys.readouterr().err


def test_data(rows, tmp_path):
    for i in range(3):
        mask = np.full((20, 30), i, dtype=np.uint8)
        Image.fromarray(mask).save(tmp_path / f'{i}.png')
    table = rows('data', str(tmp_path))
    assert [row[0] for row in table] == [
        *['3 masks'] * 3, *['mask of 512 x 512'] * 5,
        *['photo of 500 x 375'] * 2
    ]


def test_memory(rows, monkeypatch, repository):
    monkeypatch.syspath_prepend(repository / 'benchmarks')
    memory = importlib.import_module('memory')
    sides = memory.environments()
    assert list(sides)[:2] == [memory.DEFAULT, 'kept by glibc']
    # One side: every process has to import everything.
    table = rows(
        'memory',
        '--batch',
        '2',
        '--iters',
        '1',
        environments=lambda: {memory.DEFAULT: sides[memory.DEFAULT]})
    assert [(row[0], row[2]) for row in table] == [(memory.DEFAULT, '1.00')]
    assert float(table[0][1]) > 0


def test_folder_without_masks_is_refused(rows, tmp_path, capsys):
    with pytest.raises(SystemExit, match='2'):
        rows('data', str(tmp_path))
    assert 'holds no file *.png' in capsys.readouterr().err


def peaks_in_this_process(build, calls, on_host=False):
    """Test the functions; a process for each would take minutes."""
    for small, args in calls:
        build(*small)()
        build(*args)()
    return [1.0] * len(calls)


def test_scale(rows):
    table = rows(
        'scale',
        peak_memories=peaks_in_this_process,
        OLD_CLASSES=(2, 4),
        PIXELS=(16**2, 32**2),
        STEPS=(2, 3),
        IMAGES=(3, 6))
    assert [row[:2] for row in table[:8]] == [
        ['fused losses', '2 old classes'],
        ['fused losses', '4 old classes'],
        ['fused losses', '256 pixels'],
        ['fused losses', '1,024 pixels'],
        ['metric of an image', '2 classes'],
        ['metric of an image', '4 classes'],
        ['configs of all steps', '2 steps'],
        ['configs of all steps', '3 steps'],
    ]
    assert [row[1] for row in table[-3:]
            ] == ['3 images', '6 images', '1,000,000 images, fitted']
    measured = [row for row in table if 'fitted' not in row[1]]
    assert all(float(row[2]) > 0 for row in measured)


def test_growth(monkeypatch, repository):
    monkeypatch.syspath_prepend(repository / 'benchmarks')
    scale = importlib.import_module('scale')
    growth = scale.Growth('work', 'images', [10, 20, 40], [5, 7, 11],
                          [1, 10, 40])
    assert growth.fitted(100)[:3] == ['work', '100 images, fitted', '23']
    assert [row[4:] for row in growth.rows()] == [['', ''], ['', ''],
                                                  ['0.65', '2.00']]
    assert growth._replace(peaks=[0, 1, 2]).rows()[-1][4:] == ['0.65', '-']


def test_exponent(monkeypatch, repository):
    monkeypatch.syspath_prepend(repository / 'benchmarks')
    scale = importlib.import_module('scale')
    assert scale.exponent((10, 100), (3, 30)) == pytest.approx(1)
    assert scale.exponent((10, 1000), (3, 30)) == pytest.approx(0.5)
    assert np.isnan(scale.exponent((10, 1000), (0.1, 30)))


@pytest.fixture
def run_all(monkeypatch, repository):
    monkeypatch.syspath_prepend(repository / 'benchmarks')
    return importlib.import_module('run_all')


def test_every_benchmark_has_its_place(run_all, repository):
    text = (repository / 'benchmarks/README.md').read_text()
    scripts = {path.stem for path in (repository / 'benchmarks').glob('*.py')}
    others = {
        'common', 'loss_sides', 'run_all', 'sequence_table', 'summary',
        'training'
    }
    assert set(run_all.BENCHMARKS) == scripts - others
    for name in run_all.BENCHMARKS:
        changed = run_all.record(text, name, f'table of {name}\n')
        assert f'<!-- {name} -->\n\ntable of {name}\n' in changed
        assert run_all.record(changed, name, 'table\n') != changed


def test_chosen_benchmarks_are_written(run_all, monkeypatch, tmp_path):
    readme = tmp_path / 'README.md'
    readme.write_text(''.join(f'<!-- {name} -->\n<!-- end of {name} -->\n'
                              for name in (*run_all.BENCHMARKS, 'demands')))
    monkeypatch.setattr(run_all, 'README', str(readme))
    monkeypatch.setattr(run_all, 'run',
                        lambda name, folder: f'{name} {folder}\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        'sys.argv',
        ['run_all', '--only', 'data', 'losses', '--masks', 'some/masks'])
    run_all.main()
    text = readme.read_text()
    assert f'<!-- data -->\n\ndata {tmp_path}/some/masks\n' in text
    assert '<!-- losses -->\n\nlosses None\n' in text
    assert '<!-- scale -->\n<!-- end of scale -->' in text


def test_some_are_left_out_unless_named(run_all, monkeypatch):
    monkeypatch.setattr('sys.argv', ['run_all', '--masks', 'm', '--voc', 'v'])
    left_out = set(run_all.BENCHMARKS) - set(run_all.parse_args().only)
    assert left_out == {'gpu', 'memory', 'joint_vs_mmseg'}


@pytest.mark.parametrize('argv, message', [
    (['--only', 'data'], 'data needs --masks'),
    (['--masks', 'm'], 'sequence needs --voc'),
    (['--only', 'speed'], 'invalid choice'),
])
def test_bad_command_line(run_all, monkeypatch, capsys, argv, message):
    monkeypatch.setattr('sys.argv', ['run_all', *argv])
    with pytest.raises(SystemExit, match='2'):
        run_all.main()
    assert message in capsys.readouterr().err


def test_a_place_is_needed(run_all):
    with pytest.raises(ValueError, match='has 0 places for losses'):
        run_all.record('no place', 'losses', 'table')


def test_tables_are_what_is_kept(run_all, monkeypatch, tmp_path):
    (tmp_path / 'some.py').write_text(
        'import os, sys\nprint("noise")\nprint("| a |\\n\\n- b", '
        'sys.argv[1:], os.environ["OMP_NUM_THREADS"])\n')
    monkeypatch.setattr(run_all, 'FOLDER', str(tmp_path))
    monkeypatch.setitem(run_all.BENCHMARKS, 'some',
                        run_all.Benchmark(('-x', ), threads=3))
    lines = run_all.run('some', 'data').splitlines()
    assert lines[:3] == ['| a |', '', "- b ['-x', 'data'] 3"]
    assert re.match(r'- Commit \S+( and changes)?; it took 0\.', lines[3])


def test_failing_benchmark(run_all, monkeypatch, tmp_path):
    (tmp_path / 'losses.py').write_text('raise ValueError')
    monkeypatch.setattr(run_all, 'FOLDER', str(tmp_path))
    with pytest.raises(SystemExit, match='losses failed'):
        run_all.run('losses')


def test_sequence_is_put_together(monkeypatch, repository):
    monkeypatch.syspath_prepend(repository / 'benchmarks')
    sequence_table = importlib.import_module('sequence_table')
    args = SimpleNamespace(
        config=str(repository / 'configs/incremental/voc_10-1_cpu.py'),
        method='mib',
        iters=11,
        images=5)
    step = {
        'first iteration': 0.5,
        'iterations': 3.0,
        'waiting for data': 1.0,
        'evaluation: forward': 1.0,
        'evaluation: metric': 0.5,
        'building': 0.75
    }
    monkeypatch.setattr(sequence_table, 'count_evaluated', lambda args: 100)
    rows = sequence_table.summarize(args, [step] * 3, [{
        'first iteration': 2.2,
        'iterations': 2.0,
        'building': 0.5
    }] * 3, 2.25)
    assert [row[2:] for row in rows] == [
        ['200 ms', '1.00'],
        ['400 ms', '2.00'],
        ['2.00 s', '1.00'],
        ['0.10 s', '0.05'],
        ['200.0 ms', '1.00'],
        ['300.0 ms', '1.50'],
        # A metric of this package is not what MMSegmentation does.
        ['200.0 ms', '1.00'],
        ['0.50 s', '1.00'],
        ['0.75 s', '1.50'],
        # Checks and the report.
        ['2.25 s', ''],
        # Ten steps of 160 iterations: 640 s, and 8.5 and 2.25 s more.
        ['320 s', '1.00'],
        ['651 s', '2.03'],
        # A hundred images at 0.3 s beside.
        ['681 s', '2.13'],
    ]


def test_sequence(rows, shapes_root):
    table = rows('sequence',
                 '--config', 'tests/configs/tiny_shapes.py', '--data-root',
                 str(shapes_root), '--iters', '2', '--images', '2')
    by_work = {tuple(row[:2]): row[2:] for row in table if len(row) == 4}
    assert by_work['iteration', 'MMSegmentation'][1] == '1.00'
    assert float(by_work['evaluation of an image', 'all'][1]) > 1
    assert by_work['2 steps of 2 iterations', 'MMSegmentation'][1] == '1.00'
    second = [row for row in table if len(row) == 2]
    assert second[0] == ['phase', 's a step']
    phases = {name: float(seconds) for name, seconds in second[2:]}
    assert phases['iterations'] > 0 and phases['evaluation: forward'] > 0


def test_steps_and_plain_blocks_in_turns(monkeypatch, repository, shapes_root,
                                         tmp_path):
    monkeypatch.syspath_prepend(repository / 'benchmarks')
    monkeypatch.chdir(repository)
    sequence = importlib.import_module('sequence')
    args = SimpleNamespace(
        config='tests/configs/tiny_shapes.py',
        method='finetune',
        data_root=str(shapes_root),
        iters=2,
        images=2,
        repeats=2)
    blocks = []

    def run_stock(cfg, work_dir):
        # Its time must not count as that of a step.
        sleep(3)
        trained = (tmp_path / 'steps').glob('*/results.json')
        blocks.append(len(list(trained)))
        return dict(iterations=1.0)

    monkeypatch.setattr(sequence, 'run_stock', run_stock)
    steps, plain, once = sequence.run_sequence(args, str(tmp_path))
    turns = sequence.in_turns(('step', sequence.STOCK), 2)
    order = [side for _, side in turns]
    assert blocks == [
        1 + order[:i].count('step') for i, side in enumerate(order)
        if side == sequence.STOCK
    ]
    assert len(steps) == len(plain) == 2
    assert [*once] == ['checks', 'report', *sequence.ONCE]
    for step in steps:
        assert step['iterations'] > 0 and step['evaluation: forward'] > 0
        assert sum(step.values()) < 3
        assert not {'checks', 'report'} & {*step}


@pytest.fixture
def summary(monkeypatch, repository):
    monkeypatch.syspath_prepend(repository / 'benchmarks')
    return importlib.import_module('summary')


PAGE = """<!-- work -->

| a | side | time | to it |
| --- | --- | --- | --- |
| big | ours | 1.20 s | 0.50 |
| big | theirs | 3 s | 1.25 |
| big | least | 0.9 s | 0.25 |

| phase | s |
| --- | --- |

<!-- end of work -->
<!-- empty -->
<!-- end of empty -->
"""


@pytest.mark.parametrize('limit, column, expected', [
    (0.5, 'to it', ['0.50', '0.50', '1.25', '0.25', 'yes']),
    (1.0, 'time', ['1.00', '1.20', '3.00', '0.90', 'no']),
    (1.0, 'mass', ['1.00', '-', '-', '-', '-']),
])
def test_a_demand_is_judged(summary, limit, column, expected):
    tables = summary.read_tables(PAGE)
    assert list(tables) == ['work'] and len(tables['work']) == 3
    demand = summary.Demand('it', limit, 'work', ('big', 'ours'), column,
                            'theirs', 'least')
    assert summary.judge(demand, tables) == ['it', *expected]


def test_demands_are_of_rows_that_the_scripts_write(summary, monkeypatch,
                                                    repository):
    losses, iterations = (
        importlib.import_module(name) for name in ('losses', 'iterations'))
    sides = dict(
        losses={*losses.SIDES, *losses.REFERENCES},
        iterations={*iterations.SIDES, *iterations.REFERENCES})
    for demand in summary.DEMANDS:
        names = {demand.row[1], demand.published, demand.reference} - {None}
        assert names <= sides.get(demand.table, names), demand.what
    text = (repository / 'benchmarks/README.md').read_text()
    tables = summary.read_tables(text)
    # What is published has all numbers, and those of references there are.
    for demand in summary.DEMANDS:
        row = summary.judge(demand, tables)
        is_left_out = (
            summary.HALF in demand.what and iterations.LEFT_OUT in text)
        assert (row[2] == '-') == is_left_out, demand.what
        assert (row[4] == '-') == (demand.reference is None
                                   or is_left_out), demand.what
    assert summary.summarize(text).strip() in text
