import runpy
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'report.py'


@pytest.fixture
def run(monkeypatch):
    """Run the tool in this process."""
    main = runpy.run_path(str(TOOL))['main']

    def run(*argv: str) -> None:
        monkeypatch.setattr('sys.argv', ['tools/report.py', *argv])
        main()

    return run


@pytest.mark.parametrize('name', ['', 'results.json'])
def test_one_run(run, save_run, tmp_path, capsys, name):
    work_dir = save_run(tmp_path / 'work', 'mib')
    run(str(Path(work_dir) / name))
    out = capsys.readouterr().out
    assert 'train images' in out and '| mib ' in out
    assert (tmp_path / 'work' / 'report' / 'iou_matrix.png').is_file()


def test_comparison(run, save_run, tmp_path, capsys):
    works = [save_run(tmp_path / name, name) for name in ('mib', 'plop')]
    run(*works, '--out', str(tmp_path / 'out'))
    out = capsys.readouterr().out
    assert '| mib ' in out and '| plop ' in out
    assert {path.name
            for path in (tmp_path / 'out').iterdir()
            } == {'curves.png', 'base_new.png'}


def test_bad_input_is_one_sentence(run, tmp_path, capsys):
    with pytest.raises(SystemExit, match='2'):
        run(str(tmp_path / 'nothing'))
    err = capsys.readouterr().err
    assert 'nothing does not exist' in err
    assert len(err.splitlines()) == 1


def test_average_of_repeats(run, save_run, tmp_path, capsys):
    works = [save_run(tmp_path / name, 'mib') for name in ('a', 'b')]
    run(*works, '--average', '--out', str(tmp_path / 'out'))
    assert '75.00 ± 0.00' in capsys.readouterr().out
