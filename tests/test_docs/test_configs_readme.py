import json
import math
import re
import runpy
import shlex

import pytest
from mmseg.registry import MODELS

from mmseg_incremental.engine import (build_scenario, build_step_cfg,
                                      load_config, run_steps)

PAGE = 'configs/README.md'


@pytest.fixture
def written(checkout, read_blocks):
    """The page's configs, written where their first lines say; no others."""
    paths = []
    for block in read_blocks(PAGE, 'python'):
        name = re.match(r'# (configs/\S+\.py)\n', block).group(1)
        assert not (checkout / name).exists()
        (checkout / name).write_text(block)
        paths.append(name)
    return paths


def test_every_example_is_a_config(written):
    configs = [p for p in written if '/incremental/' in p]
    assert len(configs) == len(written) - 1 == 4
    for path in configs:
        cfg = load_config(path)
        num_steps = len(build_scenario(cfg))
        assert num_steps > 1
        for step in range(num_steps):
            assert build_step_cfg(
                cfg, step).model.type == ('IncrementalEncoderDecoder')


@pytest.mark.parametrize(
    'path, backbone, num_heads',
    [('configs/incremental/my_shapes_10-1_segformer.py',
      'MixVisionTransformer', 1),
     ('configs/incremental/my_deeplabv3plus_15-5.py', 'ResNetV1c', 2)])
def test_models_of_mmseg_grow(written, path, backbone, num_heads):
    assert path in written
    cfg = load_config(path)
    first, second = (build_step_cfg(cfg, step) for step in (0, 1))
    assert first.model.backbone.type == backbone
    assert second.train_dataloader.dataset.get(
        'datasets',
        [second.train_dataloader.dataset])[0].type == 'IncrementalDataset'
    assert second.test_evaluator.type == 'IncrementalIoUMetric'
    # What the config writes for the steps after the first is in force.
    assert (second.optim_wrapper.optimizer.lr
            < first.optim_wrapper.optimizer.lr)
    second.model.backbone.norm_cfg = dict(type='BN')
    heads = MODELS.build(second.model).named_heads()
    assert len(heads) == num_heads
    num_seen = len(build_scenario(cfg).seen(1))
    assert {h.conv_seg.out_channels for _, h in heads} == {num_seen}


def test_commands_are_accepted(written, checkout, read_commands, train, capsys,
                               monkeypatch):
    # A dry run does without data; drawing 1,200 shapes would take a while.
    monkeypatch.setattr(
        'mmseg_incremental.datasets.shapes.dataset.draw_shapes',
        lambda **kwargs: None)
    commands = read_commands(PAGE)
    assert len(commands) == 6
    for command in commands:
        train([*command, *(['--dry-run'] * ('--dry-run' not in command))])
        assert 'new classes' in capsys.readouterr().out
    assert not (checkout / 'work_dirs').exists()


def test_command_line_changes_what_the_page_says(written):
    cfg = load_config(
        'configs/incremental/voc_15-5.py',
        cfg_options={'method.distillation.0.loss_weight': 100})
    assert build_step_cfg(cfg, 1).model.distillation == [
        dict(type='UnbiasedDistillationLoss', loss_weight=100)
    ]
    path = 'configs/incremental/shapes_10-1.py'
    cfg = load_config(path, method='finetune')
    assert cfg.work_dir == 'work_dirs/shapes_10-1_finetune'
    assert set(cfg.method) == {'name', 'classifier_init'}
    # A config that has the method already keeps its own values.
    cfg = load_config('configs/incremental/voc_10-1.py', method='mib')
    assert cfg.method.distillation[0].loss_weight == 100


def test_table_of_weights(checkout, read_blocks):
    page = (checkout / PAGE).read_text()
    rows = re.findall(r'^\| `(\w+-\d+\w*\.py)` \| (\d+) \|$', page, flags=re.M)
    assert len(rows) == 10
    for name, weight in rows:
        method = load_config(f'configs/incremental/{name}').method
        assert method.name == 'mib'
        assert method.distillation[0].loss_weight == float(weight)


def test_search_is_possible(checkout, repository, read_blocks, monkeypatch):
    tool = runpy.run_path(str(repository / 'tools' / 'search.py'))
    text = ''.join(read_blocks(PAGE, 'shell')).replace('\\\n', ' ')
    command, = (line for line in text.splitlines() if 'search.py' in line)
    monkeypatch.setattr('sys.argv', shlex.split(command)[1:])
    monkeypatch.setenv('LOCAL_RANK', '0')
    configs = tool['load_values'](tool['parse_args']())
    assert [c.method.distillation[0].loss_weight
            for c in configs] == [1, 10, 100]
    assert {c.method.name for c in configs} == {'lwf'}


def test_added_method_is_found_by_name(written, checkout, monkeypatch):
    # What an editable install links to.
    monkeypatch.setattr('mmseg_incremental.engine.config.configs_root',
                        lambda: str(checkout / 'configs'))
    cfg = load_config(
        'configs/incremental/shapes_10-1.py', method='lwf_unbiased')
    assert cfg.method.name == 'lwf_unbiased'


def test_added_method_is_run(written, checkout, tiny_shapes):
    method = checkout / 'configs/_base_/methods/lwf_unbiased.py'
    assert len(method.read_text().splitlines()) <= 10
    path = 'configs/incremental/my_shapes_10-1_lwf_unbiased.py'
    cfg = load_config(
        path, cfg_options=tiny_shapes, work_dir=str(checkout / 'work'))

    step_cfg = build_step_cfg(cfg, 1)
    assert step_cfg.model.decode_head.loss_decode == dict(
        type='UnbiasedCrossEntropyLoss', loss_weight=1.0, num_old=19)
    assert step_cfg.model.distillation == [
        dict(type='DistillationLoss', loss_weight=100.0)
    ]
    assert step_cfg.model.classifier_init == 'random'

    results = run_steps(cfg)
    assert results['method'] == 'lwf_unbiased' and results['complete']
    assert [len(s['seen_classes']) for s in results['steps']] == [19, 21]
    logs = (checkout / 'work/step_1').glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for log in logs for line in log.open()]
    lines = [line for line in lines if 'loss' in line]
    assert [line['step'] for line in lines] == [1, 2]
    for line in lines:
        parts = line['decode.loss_ce'], line['decode.loss_kd']
        assert all(math.isfinite(part) and part > 0 for part in parts)
        assert line['loss'] == pytest.approx(sum(parts), rel=1e-5)
