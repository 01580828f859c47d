"""Every benchmark runs, on little work, and prints its table."""
import importlib

import numpy as np
import pytest
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
    table = rows('losses', CASES=[case])
    assert [row[1] for row in table] == [
        'cross entropy alone', 'published approach', 'readable losses',
        'fused losses'
    ]
    assert table[0][3] == '1.00'
    for _, _, time, ratio, peak, _ in table:
        assert float(time) > 0 and float(ratio) > 0 and float(peak) >= 0


def test_losses_that_differ_are_noticed(monkeypatch, repository):
    monkeypatch.syspath_prepend(repository / 'benchmarks')
    losses = importlib.import_module('losses')
    case = losses.Case(5, 3, 8, batch=1, size=16)
    results = {name: losses.build(name, case)() for name in losses.SIDES}
    with pytest.raises(AssertionError):
        losses.check_equal(results)


def test_iterations(rows):
    table = rows(
        'iterations',
        '--batch',
        '2',
        '--models',
        'MobileNetV2-ASPP',
        SIZE=64,
        CLASSES=((4, 3), ))
    assert [row[1] for row in table] == [
        'MMSegmentation', 'MiB', 'MiB, teacher in bfloat16',
        'MiB, readable losses and plain teacher'
    ]
    assert table[0][3] == '1.00'


def test_data(rows, tmp_path):
    for i in range(3):
        mask = np.full((20, 30), i, dtype=np.uint8)
        Image.fromarray(mask).save(tmp_path / f'{i}.png')
    table = rows('data', str(tmp_path))
    assert [row[0]
            for row in table] == ['3 masks'] * 3 + ['mask of 512 x 512'] * 4


def test_folder_without_masks_is_refused(rows, tmp_path, capsys):
    with pytest.raises(SystemExit, match='2'):
        rows('data', str(tmp_path))
    assert 'holds no file *.png' in capsys.readouterr().err


def test_scale(rows):
    table = rows(
        'scale',
        OLD_CLASSES=(2, 4),
        PIXELS=(16**2, 32**2),
        STEPS=(2, 3),
        IMAGES=(3, 6))
    assert [row[:2] for row in table[:4]] == [
        ['fused losses', '2 old classes'],
        ['fused losses', '4 old classes'],
        ['fused losses', '256 pixels'],
        ['fused losses', '1,024 pixels'],
    ]
    assert [row[1] for row in table[-3:]
            ] == ['3 images', '6 images', '1,000,000 images, fitted']
    assert all(float(row[2]) > 0 for row in table)


def test_exponent(monkeypatch, repository):
    monkeypatch.syspath_prepend(repository / 'benchmarks')
    scale = importlib.import_module('scale')
    assert scale.exponent((10, 100), (3, 30)) == pytest.approx(1)
    assert scale.exponent((10, 1000), (3, 30)) == pytest.approx(0.5)
    assert np.isnan(scale.exponent((10, 1000), (0.1, 30)))
