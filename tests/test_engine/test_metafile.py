import json
from pathlib import Path

import pytest

from mmseg_incremental.engine import build_step_cfg, load_config
from mmseg_incremental.engine.metafile import model_entry
from mmseg_incremental.engine.run_state import claim_work_dir
from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.evaluation import (build_results, step_record,
                                          write_results)

CONFIG = 'mmseg_incremental::incremental/shapes_10-1.py'
NAMES = ['background', 'cat', 'dog']


@pytest.fixture
def save_run(tmp_path):
    """Leave what a run leaves, figures included."""

    def save(method: str = 'mib', num_steps: int = 2, **options) -> str:
        work_dir = tmp_path / 'work'
        cfg = load_config(
            CONFIG, method=method, cfg_options=options, work_dir=str(work_dir))
        claim_work_dir(cfg)
        (work_dir / 'step_1').mkdir()
        build_step_cfg(cfg, 1).dump(str(work_dir / 'step_1' / 'a.py'))
        (work_dir / 'step_1' / 'deploy.py').write_text('model = 1')
        steps = [
            step_record(0, NAMES[:2], NAMES[:2], 3, metrics(90., 60.), 600.,
                        999.),
            step_record(1, NAMES[2:], NAMES, 2, metrics(80., 30., 40.), 90.,
                        800.4, 'GPU')
        ]
        header = dict(
            task='10-1',
            setting='overlapped',
            method=method,
            dataset='Shapes',
            class_names=NAMES,
            conventions=dict(base_method='importances'))
        write_results(
            build_results(header, steps, NAMES[:2], NAMES[2:], num_steps),
            str(work_dir))
        return str(work_dir)

    return save


def metrics(*values: float) -> dict:
    return {f'IoU/{name}': value for name, value in zip(NAMES, values)}


def test_entry(save_run):
    assert model_entry(CONFIG, save_run(), 'pictures') == {
        'Name':
        'mib_shapes_10-1',
        'Config':
        CONFIG,
        'Metadata': {
            'Method': 'mib',
            'Options': '',
            'Training Data': 'pictures',
            'Base Method': 'importances',
            # Of the later steps: the base model serves all methods.
            'Device': 'GPU',
            'Minutes': 1.5,
            'Memory (MB)': 800
        },
        'Results': [{
            'Task': 'Class-Incremental Semantic Segmentation',
            'Dataset': 'Shapes 10-1 overlapped',
            'Metrics': {
                'base': 55.,
                'new': 40.,
                'all': 50.,
                'average': 62.5,
                'base (no bg)': 30.,
                'all (no bg)': 35.,
                'average (no bg)': 47.5,
                'forgetting': 20.,
                'forgetting (no bg)': 30.
            }
        }]
    }


@pytest.mark.parametrize('key, value, named', [
    ('method.distillation.0.loss_weight', 7.0,
     'method.distillation.0.loss_weight=7.0'),
    ('incremental_step.optim_wrapper.optimizer.lr', 0.5,
     'optim_wrapper.optimizer.lr=0.5'),
    ('incremental_step.train_cfg.max_iters', 3, 'train_cfg.max_iters=3'),
    ('randomness.seed', 43, 'randomness.seed=43'),
    ('incremental_step.model.norm_eval', True, 'model.norm_eval=True'),
    ('model.fused_losses', False, 'model.fused_losses=False'),
    ('train_dataloader.batch_size', 5, 'train_dataloader.batch_size=5'),
    ('data_root', 'elsewhere', ''),
    ('num_panel_images', 1, ''),
])
def test_what_differs_from_the_config_is_named(save_run, key, value, named):
    entry = model_entry(CONFIG, save_run(**{key: value}))
    assert entry['Metadata']['Options'] == named
    # Another run of it is another entry.
    assert entry['Name'] == '_'.join(filter(None, ['mib_shapes_10-1', named]))


def test_time_that_is_not_known(save_run):
    path = Path(save_run(), 'results.json')
    results = json.loads(path.read_text())
    results['steps'][1].update(train_seconds=None)
    del results['steps'][1]['peak_memory_mb']
    del results['steps'][1]['device']
    path.write_text(json.dumps(results))
    facts = model_entry(CONFIG, str(path.parent))['Metadata']
    assert (facts['Device'] is facts['Minutes'] is facts['Memory (MB)'] is
            None)


@pytest.mark.parametrize(
    'kwargs, sentence',
    [(dict(num_steps=3), 'is not complete'),
     ({
         'holdout.seed': 0
     }, "holdout={'seed': 0}; only figures of the official"),
     ({
         'scenario.setting': 'disjoint'
     }, "is a run with setting='disjoint', but .* has 'overlapped'"),
     ({
         'scenario.future': 'ignore'
     }, "is a run with future='ignore', but .* has 'background'"), ({}, None)])
def test_refused(save_run, kwargs, sentence):
    work_dir = save_run(**kwargs)
    config = CONFIG
    if sentence is None:
        config = 'mmseg_incremental::incremental/voc_15-5_cpu.py'
        sentence = "is a run with task='10-1', but .* has '15-5'"
    with pytest.raises(IncrementalConfigError, match=sentence):
        model_entry(config, work_dir)


@pytest.mark.parametrize('file, sentence',
                         [('run.json', 'run.json does not exist'),
                          ('step_1/a.py', 'step_1 holds no config')])
def test_missing_file(save_run, file, sentence):
    work_dir = save_run()
    Path(work_dir, file).unlink()
    with pytest.raises(IncrementalConfigError, match=sentence):
        model_entry(CONFIG, work_dir)
