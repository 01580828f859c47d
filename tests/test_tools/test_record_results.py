import re
import runpy
import shutil
from pathlib import Path

import pytest
from mmengine.fileio import load

from mmseg_incremental.errors import IncrementalConfigError

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/incremental/voc_15-5_cpu.py'
PLACE = '<!-- results{} -->\n<!-- end of results -->\n'


@pytest.fixture
def tool():
    return runpy.run_path(str(ROOT / 'tools' / 'record_results.py'))


@pytest.fixture
def record(tool, monkeypatch, tmp_path):
    """Run the tool in a repository with the folders of two methods.

    A run is named by its method and its figure of the new classes.
    """
    for name, head in (('mib', '# MiB\n\n> [A paper](https://a.b)\n\n'),
                       ('lwf', '# LwF\n\n')):
        folder = tmp_path / 'configs' / name
        folder.mkdir(parents=True)
        (folder / 'README.md').write_text(head + PLACE.format('') + 'Rest\n')
    (tmp_path / 'REPRODUCIBILITY.md'
     ).write_text(PLACE.format(' voc_15-5_cpu') + PLACE.format(' other'))
    (tmp_path / 'configs' / 'incremental').mkdir()
    (tmp_path / CONFIG).touch()
    monkeypatch.chdir(tmp_path)
    scope = tool['save_entry'].__globals__
    monkeypatch.setitem(scope, 'ROOT', str(tmp_path))
    monkeypatch.setitem(scope, 'model_entry', entry)

    def run(*argv: str) -> Path:
        monkeypatch.setattr('sys.argv', ['tools/record_results.py', *argv])
        tool['main']()
        return tmp_path

    return run


def entry(config: str, run: str, data: str) -> dict:
    method, new = run.split()
    if method == 'bad':
        raise IncrementalConfigError('bad run')
    options = 'lr=1' if new == '70' else ''
    return {
        'Name':
        f'{method}_x{options}',
        'Config':
        config,
        'Metadata': {
            'Method': method,
            'Options': options,
            'Training Data': data,
            'Minutes': 1.5,
            'Memory (MB)': None
        },
        'Results': [{
            'Task': 'Class-Incremental Semantic Segmentation',
            'Dataset': 'Shapes 15-5 disjoint',
            'Metrics': dict(base=55., new=float(new), all=float(new))
        }]
    }


def test_figures_reach_metafile_and_pages(record):
    root = record(f'./{CONFIG}', 'mib 40', 'mib 70', '--data', 'pictures')
    content = load(root / 'configs/mib/metafile.yml')
    assert content['Collections'] == [{
        'Name':
        'mib',
        'README':
        'configs/mib/README.md',
        'Paper':
        dict(Title='A paper', URL='https://a.b')
    }]
    first, second = content['Models']
    assert first['Config'] == CONFIG and first['In Collection'] == 'mib'
    assert first['Metadata']['Training Data'] == 'pictures'
    assert load(root / 'model-index.yml') == {
        'Import': ['configs/mib/metafile.yml']
    }

    page = (root / 'configs/mib/README.md').read_text()
    rows = re.findall(r'^\| `mib`.*$', page, flags=re.M)
    assert rows[0] == (
        '| `mib` | `configs/incremental/voc_15-5_cpu.py` | 15-5 disjoint | '
        '55.00 | 40.00 | 40.00 | - | - | - | - | - | - | 1.5 | - |')
    assert len(rows) == 2 and page.endswith('Rest\n')
    assert (root / 'docs/images/voc_15-5_cpu_old_new.png').is_file()
    # The best run comes first, and no row where no run is of the config.
    page = (root / 'REPRODUCIBILITY.md').read_text()
    rows = re.findall(r'^\| `mib`.*$', page, flags=re.M)
    assert len(rows) == 2 and rows[0].startswith('| `mib` lr=1 | 55.00 |')


@pytest.mark.parametrize('options, expected', [
    ('', 'mib'),
    ('a.0.loss_weight=10.0 train_cfg.max_iters=80 b=[1.5]',
     'mib loss_weight=10.0 max_iters=80 b=[1.5]'),
])
def test_names_in_the_picture(tool, options, expected):
    model = dict(Metadata=dict(Method='mib', Options=options))
    assert tool['name_in_picture'](model) == expected


def test_a_run_takes_the_place_of_its_older_one(record):
    record(CONFIG, 'mib 40')
    root = record(CONFIG, 'mib 50')
    model, = load(root / 'configs/mib/metafile.yml')['Models']
    assert model['Results'][0]['Metrics']['new'] == 50
    before = (root / 'REPRODUCIBILITY.md').read_text()
    record(CONFIG)
    assert (root / 'REPRODUCIBILITY.md').read_text() == before


def test_combinations_belong_to_their_first_method(record):
    root = record(CONFIG, 'mib_ewc 40')
    model, = load(root / 'configs/mib/metafile.yml')['Models']
    assert model['Metadata']['Method'] == 'mib_ewc'


@pytest.mark.parametrize('argv, sentence', [
    ((CONFIG, 'mib 40', 'sdr 40'), "method 'sdr' has no folder"),
    ((CONFIG, 'mib 40', 'bad 40'), 'bad run'),
    (('nope.py', 'mib 40'), 'nope.py is no file of this repository'),
])
def test_refused_as_a_whole(record, tmp_path, capsys, argv, sentence):
    with pytest.raises(SystemExit):
        record(*argv)
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.rglob('metafile.yml'))


def test_committed_pages_are_up_to_date(tool, monkeypatch, tmp_path):
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    for name in ('REPRODUCIBILITY.md', 'model-index.yml'):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setitem(tool['write_tables'].__globals__, 'ROOT',
                        str(tmp_path))
    tool['write_tables']()
    for path in tmp_path.rglob('*'):
        if path.is_file():
            assert path.read_text() == (
                ROOT / path.relative_to(tmp_path)).read_text(), path
    for name in load(ROOT / 'model-index.yml')['Import']:
        for model in load(ROOT / name)['Models']:
            assert (ROOT / model['Config']).is_file()
