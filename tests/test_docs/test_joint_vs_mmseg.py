import re
import runpy

import numpy as np
import pytest
from mmengine.config import ConfigDict

from mmseg_incremental.datasets import draw_shapes

CONFIG = '''
_base_ = {base!r}
drawing = dict(num_train=24, num_val=8, size=64)
train_dataloader = dict(batch_size=2, dataset=dict(dataset=drawing))
model = dict(
    data_preprocessor=dict(size=(64, 64)),
    backbone=dict(base_channels=4, stem_channels=4),
    decode_head=dict(in_channels=32, channels=8))
'''


@pytest.fixture
def benchmark(monkeypatch, repository):
    monkeypatch.syspath_prepend(repository / 'benchmarks')
    script = runpy.run_path(str(repository / 'benchmarks/joint_vs_mmseg.py'))

    def run(*argv):
        monkeypatch.setattr('sys.argv', ['joint_vs_mmseg.py', *argv])
        script['main']()

    run.script = script
    return run


def test_benchmark_runs(benchmark, repository, tmp_path, capsys):
    base = repository / 'configs/incremental/shapes_10-1.py'
    config = tmp_path / 'tiny.py'
    config.write_text(CONFIG.format(base=str(base)))
    root = tmp_path / 'shapes'
    draw_shapes(str(root), num_train=24, num_val=8, size=64)
    benchmark('--config', str(config), '--data-root', str(root), '--iters',
              '1', '--repeats', '2')
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split('|')[1:-1]]
            for line in out.splitlines() if line.startswith('|')]
    assert [row[0] for row in rows[2:]] == [
        'MMSegmentation', 'joint', 'joint, stock loss', 'MiB, second step'
    ]
    for _, time, _, data, ratio in rows[2:]:
        assert 0 < float(data) < float(time) and float(ratio) > 0
    # Both do the same work; two blocks of two warm-up and one timed iteration.
    rounding, = re.findall(
        'Losses of MMSegmentation and joint, stock loss: equal, in 6 '
        r'iterations each; of joint: within (\S+)\n', out)
    assert float(rounding) < 1e-4
    assert re.search(r'Threads of torch: \d+\n- Python 3\.\d+.*, torch ', out)


def test_stock_side_holds_nothing_of_the_package(benchmark, repository):
    script = benchmark.script
    path = str(repository / 'configs/incremental/custom_voc_layout.py')
    cfg = script['read_config'](path, 'joint', 1, 'elsewhere')
    stock = script['to_stock'](cfg)
    assert stock.model.type == 'EncoderDecoder'
    assert stock.model.decode_head.num_classes == 6
    assert 'init_cfg' not in stock.model.backbone
    dataset = stock.train_dataloader.dataset
    assert (dataset.type, dataset.data_root) == ('BaseSegDataset', 'elsewhere')
    assert {'type': 'LoadAnnotations'} in dataset.pipeline
    assert 'Incremental' not in stock.pretty_text


def test_table_is_of_medians(benchmark):
    block = benchmark.script['Block']
    losses = np.zeros(1)
    table = benchmark.script['format_table']({
        'MMSegmentation': [block(t, 1., losses) for t in (10., 20., 90.)],
        'joint': [block(t, 2., losses) for t in (11., 24., 90.)],
    })
    assert table.splitlines()[2:] == [
        '| MMSegmentation | 20.0 | 10.0 to 90.0 | 1.0 | 1.000 |',
        '| joint | 24.0 | 11.0 to 90.0 | 2.0 | 1.100 |'
    ]


def test_registered_dataset_has_a_stock_form(benchmark, repository):
    script = benchmark.script
    path = str(repository / 'configs/incremental/voc_15-5_cpu.py')
    cfg = script['read_config'](path, 'joint', 1, 'elsewhere')
    dataset = script['to_stock'](cfg).train_dataloader.dataset
    assert dataset.type == 'PascalVOCDataset'
    assert dataset.data_root == 'elsewhere'
    assert dataset.pipeline == cfg.train_dataloader.dataset.pipeline


def test_unfit_config_is_refused(benchmark, repository):
    script = benchmark.script
    path = str(repository / 'configs/incremental/voc_15-5.py')
    with pytest.raises(
            script['IncrementalConfigError'], match='IterBasedTrainLoop'):
        script['read_config'](path, 'joint', 1, None)


def test_unfit_dataset_is_refused(benchmark):
    script = benchmark.script
    dataset = ConfigDict(type='PascalVOCDataset')
    with pytest.raises(
            script['IncrementalConfigError'], match='has no stock form'):
        script['stock_dataset'](dataset)


@pytest.mark.parametrize('option', ['--iters', '--repeats'])
def test_numbers_below_one_are_refused(benchmark, option, capsys):
    with pytest.raises(SystemExit, match='2'):
        benchmark(option, '0')
    assert '1 or more' in capsys.readouterr().err
