import json
import re
import runpy
import shutil
from pathlib import Path

import pytest
from mmengine.config.utils import _get_cfg_metainfo
from mmengine.fileio import load

from mmseg_incremental.evaluation import (build_results, step_record,
                                          write_results)

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/incremental/voc_15-5_cpu.py'
NAMES = ['background', 'cat', 'dog']
PLACE = '<!-- results{} -->\n<!-- end of results -->\n'


@pytest.fixture
def tool():
    return runpy.run_path(str(ROOT / 'tools' / 'record_results.py'))


@pytest.fixture
def record(tool, monkeypatch, tmp_path):
    """Run the tool in an empty repository with the folders of two methods."""
    for name, head in (('mib', '# MiB\n\n> [A paper](https://a.b)\n\n'),
                       ('lwf', '# LwF\n\n')):
        folder = tmp_path / 'configs' / name
        folder.mkdir(parents=True)
        (folder / 'README.md').write_text(head + PLACE.format('') + 'Rest\n')
    (tmp_path / 'REPRODUCIBILITY.md'
     ).write_text(PLACE.format(' voc_15-5_cpu') + PLACE.format(' other'))
    monkeypatch.setitem(tool['model_entry'].__globals__, 'ROOT', str(tmp_path))

    def run(*argv: str) -> Path:
        monkeypatch.setattr('sys.argv', ['tools/record_results.py', *argv])
        tool['main']()
        return tmp_path

    return run


def save_run(work_dir: Path,
             method: str,
             weight: float = 10.0,
             new: float = 40.,
             num_steps: int = 2) -> str:

    def metrics(*values: float) -> dict:
        return {f'IoU/{name}': v for name, v in zip(NAMES, values)}

    steps = [
        step_record(0, NAMES[:2], NAMES[:2], 3, metrics(90., 60.), 600., 999.),
        step_record(1, NAMES[2:], NAMES, 2, metrics(80., 30., new), 90., 800.4)
    ]
    header = dict(
        task='1-1',
        setting='disjoint',
        method=method,
        dataset='Shapes',
        class_names=NAMES)
    write_results(
        build_results(header, steps, NAMES[:2], NAMES[2:], num_steps),
        str(work_dir))
    parts = dict(
        name=method,
        classifier_init='background',
        classification=dict(type='UnbiasedCrossEntropyLoss'),
        distillation=[
            dict(type='UnbiasedDistillationLoss', loss_weight=weight)
        ])
    (work_dir / 'run.json').write_text(json.dumps(dict(method_parts=parts)))
    return str(work_dir)


def test_figures_reach_metafile_and_pages(record, tmp_path):
    runs = [
        save_run(tmp_path / 'a', 'mib'),
        save_run(tmp_path / 'b', 'mib', weight=100.0, new=70.)
    ]
    root = record(CONFIG, *runs, '--data', 'pictures')
    first, second = load(root / 'configs/mib/metafile.yml')['Models']
    assert first['Name'] == 'mib_voc_15-5_cpu'
    assert first['Config'] == CONFIG
    assert first['Metadata'] == {
        'Method': 'mib',
        'Options': '',
        'Training Data': 'pictures',
        # Of the later steps: the base model serves all methods.
        'Minutes': 1.5,
        'Memory (MB)': 800
    }
    assert first['Results'][0]['Dataset'] == 'Shapes 1-1 disjoint'
    assert first['Results'][0]['Metrics'] == {
        'base': 55.,
        'new': 40.,
        'all': 50.,
        'average': 62.5,
        'base (no bg)': 30.,
        'all (no bg)': 35.,
        'average (no bg)': 47.5,
        'forgetting': 20.
    }
    assert second['Metadata']['Options'] == 'distillation.0.loss_weight=100.0'

    page = (root / 'configs/mib/README.md').read_text()
    rows = re.findall(r'^\| `mib`.*$', page, flags=re.M)
    assert rows[0] == (
        '| `mib` | `configs/incremental/voc_15-5_cpu.py` | 1-1 disjoint | '
        '55.00 | 40.00 | 50.00 | 62.50 | 30.00 | 35.00 | 47.50 | 20.00 | 1.5 '
        '| 800 |')
    assert len(rows) == 2 and page.endswith('Rest\n')
    # The best run comes first, and no row where no run is of the config.
    page = (root / 'REPRODUCIBILITY.md').read_text()
    rows = re.findall(r'^\| `mib`.*$', page, flags=re.M)
    assert len(rows) == 2 and 'loss_weight=100.0' in rows[0]


def test_a_run_takes_the_place_of_its_older_one(record, tmp_path):
    record(CONFIG, save_run(tmp_path / 'a', 'mib'))
    root = record(CONFIG, save_run(tmp_path / 'b', 'mib', new=70.))
    model, = load(root / 'configs/mib/metafile.yml')['Models']
    assert model['Results'][0]['Metrics']['new'] == 70
    before = (root / 'REPRODUCIBILITY.md').read_text()
    record(CONFIG)
    assert (root / 'REPRODUCIBILITY.md').read_text() == before


def test_combinations_belong_to_their_first_method(record, tmp_path):
    root = record(CONFIG, save_run(tmp_path / 'a', 'mib_ewc'))
    model, = load(root / 'configs/mib/metafile.yml')['Models']
    assert model['Metadata']['Method'] == 'mib_ewc'
    # This run was without what EWC adds.
    assert 'weight_regularizers.0.type=None' in model['Metadata']['Options']
    assert load(root / 'model-index.yml') == {
        'Import': ['configs/mib/metafile.yml']
    }


def test_metafiles_are_those_that_mmengine_reads(record, tmp_path):
    root = record(CONFIG, save_run(tmp_path / 'a', 'mib'))
    (root / '.mim').symlink_to(root)
    found = _get_cfg_metainfo(str(root), 'incremental/voc_15-5_cpu.py')
    assert found['Name'] == 'mib_voc_15-5_cpu'


@pytest.mark.parametrize('method, num_steps, sentence',
                         [('mib', 3, 'is not complete'),
                          ('ilt', 2, 'has no folder in configs')])
def test_refused(record, tmp_path, capsys, method, num_steps, sentence):
    run = save_run(tmp_path / 'a', method, num_steps=num_steps)
    with pytest.raises(SystemExit):
        record(CONFIG, run)
    assert sentence in capsys.readouterr().err


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
