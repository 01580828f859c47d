from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmseg.registry import MODELS

from mmseg_incremental.engine import build_step_cfg, load_config, load_method
from mmseg_incremental.errors import IncrementalConfigError

SHAPES = 'mmseg_incremental::incremental/shapes_10-1.py'
VOC = 'mmseg_incremental::incremental/voc_15-5.py'


def scopes(node: Any) -> set:
    """All that MMEngine notes on where parts of a config come from."""
    if isinstance(node, dict):
        found = {node['_scope_']} if '_scope_' in node else set()
        return found.union(*map(scopes, node.values()))
    if isinstance(node, (list, tuple)):
        return set().union(*map(scopes, node))
    return set()


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_config_that_inherits_from_the_package(tmp_path):
    path = write(tmp_path / 'c.py', f"_base_ = '{SHAPES}'\n")
    assert scopes(Config.fromfile(path)._cfg_dict) == {'mmseg_incremental'}
    cfg = load_config(path, method='lwf')
    assert not scopes(cfg._cfg_dict)
    # Without it the parts are found.
    model = MODELS.build(build_step_cfg(cfg, 1).model)
    assert type(model.distillation[0]).__name__ == 'DistillationLoss'


def test_method_of_the_config_keeps_what_the_config_sets(tmp_path):
    """What it does not set follows the task, as with another method."""
    task = "_base_ = 'mmseg_incremental::incremental/voc_15-1.py'\n"
    loss = "dict(type='UnbiasedDistillationLoss'{})"
    for written, weight in (('', 100), (', loss_weight=20.0', 20)):
        text = f'method = dict(distillation=[{loss.format(written)}])\n'
        path = write(tmp_path / f'{weight}.py', task + text)
        for method in (None, 'mib'):
            part, = load_config(path, method=method).method.distillation
            assert part.loss_weight == weight
    path = write(tmp_path / 'plain.py', task)
    for options, weight in (({}, 100), ({
            'method.distillation.0.loss_weight':
            10.0
    }, 10)):
        part, = load_config(path, cfg_options=options).method.distillation
        assert part.loss_weight == weight


def test_method_with_a_name_of_its_own_follows_too(tmp_path):
    path = write(
        tmp_path / 'a.py',
        "_base_ = 'mmseg_incremental::incremental/ade_100-50.py'\n"
        'method = dict(_delete_=True, name="mine", '
        'distillation=[dict(type="LocalPODLoss", logit_factor=0.5)])\n')
    part, = load_config(path).method.distillation
    assert part == dict(
        type='LocalPODLoss', feature_factor=0.001, logit_factor=0.5)


@pytest.mark.parametrize('name', ['mib_pod', 'mib_ewc', 'mib_ewf'])
def test_task_decides_on_the_weight_of_mib(name):
    for task, weight in (('15-1', 100), ('10-1', 100), ('15-5', 10)):
        path = f'mmseg_incremental::incremental/voc_{task}.py'
        first = load_config(path, method=name).method.distillation[0]
        assert first == dict(
            type='UnbiasedDistillationLoss', loss_weight=weight)


def test_method_may_keep_its_weights():
    path = 'mmseg_incremental::incremental/voc_15-1.py'
    part, = load_config(path, method='ewf').method.distillation
    assert part == dict(type='UnbiasedDistillationLoss', loss_weight=10.0)


def test_data_set_decides_on_the_factors_of_plop(tmp_path):
    path = 'mmseg_incremental::incremental/ade_100-10.py'
    pod, = load_config(path, method='plop').method.distillation
    assert (pod.feature_factor, pod.logit_factor) == (0.001, 0.00001)
    # Also where it is the method of the config itself.
    folder = 'mmseg_incremental::_base_'
    path = write(
        tmp_path / 'a.py',
        f"_base_ = ['{folder}/datasets/ade20k.py', '{folder}/methods/plop.py']"
        "\nscenario = dict(task='100-10')\n")
    assert load_config(path).method.distillation == [pod]


def test_setting_decides_on_the_factors_of_plop():

    def factors(setting, **options):
        method = load_config(
            VOC,
            method='plop',
            cfg_options={
                'scenario.setting': setting,
                **options
            }).method
        return (method.distillation[0].feature_factor,
                method.distillation[0].logit_factor,
                method.label_completion.get('min_threshold'))

    assert factors('overlapped') == (0.01, 0.0005, None)
    assert factors('disjoint') == (0.01, 0.0001, 0.5)
    # The command line has the last word.
    key = 'method.distillation.0.logit_factor'
    assert factors('disjoint', **{key: 0.1}) == (0.01, 0.1, 0.5)


def test_options_of_parts_that_do_not_exist(tmp_path):
    path = write(
        tmp_path / 'a.py',
        f"_base_ = '{VOC}'\npart_options = dict(LocalPOD=dict(a=1))\n")
    with pytest.raises(
            IncrementalConfigError, match="LocalPOD names .*'LocalPODLoss'"):
        load_config(path, method='plop')


@pytest.mark.parametrize('method, options, message', [
    ('plop', {
        'part_options': 3
    }, 'part_options=3 is no dict'),
    ('plop', {
        'part_options.overlapped': 3
    }, 'part_options.overlapped=3 is no dict'),
    ('plop', {
        'part_options.LocalPODLoss': 3
    }, 'part_options.LocalPODLoss=3 is no dict'),
])
def test_options_of_parts_that_cannot_be(method, options, message):
    with pytest.raises(IncrementalConfigError, match=message):
        load_config(VOC, method=method, cfg_options=options)


@pytest.mark.parametrize('config', [SHAPES, VOC])
def test_importances_are_gathered_without_penalties(config):
    parts = load_config(config, method='importances').method
    assert [part.loss_weight for part in parts.weight_regularizers] == [0] * 3


def test_other_method_replaces_all_of_it():
    cfg = load_config(VOC, method='finetune')
    assert cfg.method == dict(name='finetune', classifier_init='random')


def test_options_follow_the_method():
    cfg = load_config(
        SHAPES,
        method='lwf',
        cfg_options={
            'method.classifier_init': 'zeros',
            'scenario.setting': 'disjoint'
        })
    assert cfg.method.classifier_init == 'zeros'
    assert cfg.method.distillation[0].type == 'DistillationLoss'
    assert cfg.scenario == dict(task='10-1', setting='disjoint')


@pytest.mark.parametrize('kwargs, expected', [
    (dict(), 'work_dirs/shapes_10-1'),
    (dict(method='lwf'), 'work_dirs/shapes_10-1_lwf'),
    (dict(method='lwf', work_dir='here'), 'here'),
    (dict(cfg_options=dict(work_dir='there')), 'there'),
])
def test_work_dir(kwargs, expected):
    assert load_config(SHAPES, **kwargs).work_dir == expected


@pytest.mark.parametrize('key', ['scenario', 'method'])
def test_dicts_must_stay_dicts(key):
    with pytest.raises(IncrementalConfigError, match=f"{key}='lwf' is no"):
        load_config(SHAPES, cfg_options={key: 'lwf'})


@pytest.mark.parametrize('text, message', [
    ("model = dict(type='A')", 'has no key "scenario"'),
    ('model = dict(', 'cannot be read.*SyntaxError'),
    ('model = undefined', 'cannot be read.*undefined'),
    ("_base_ = 'missing.py'", 'cannot be read.*missing.py'),
    ("_base_ = 'mmseg_incremental::none.py'", 'cannot be read.*external'),
])
def test_config_files_that_do_not_work(tmp_path, text, message):
    path = write(tmp_path / 'config.py', text)
    with pytest.raises(IncrementalConfigError, match=message) as info:
        load_config(path)
    assert path in str(info.value)


@pytest.mark.parametrize('path', ['none.py', 'mmseg_incremental::none.py'])
def test_config_file_missing(path):
    with pytest.raises(IncrementalConfigError, match=path):
        load_config(path)


def test_methods():
    assert load_method('mib').name == 'mib'
    assert load_method('joint').joint
    with pytest.raises(
            IncrementalConfigError,
            match="'mbi' is unknown .did you mean 'mib'.*finetune, .*joint"):
        load_method('mbi')


def test_data_root_of_a_config_that_inherits_its_datasets(tmp_path):
    path = write(
        tmp_path / 'child.py',
        "_base_ = 'mmseg_incremental::incremental/voc_15-5.py'\n"
        "data_root = 'of_the_child'\n")
    for options, expected in ((None, 'of_the_child'), (dict(data_root='other'),
                                                       'other')):
        cfg = load_config(path, cfg_options=options)
        for loader in (cfg.train_dataloader, cfg.test_dataloader):
            assert loader.dataset.data_root == expected


def test_train_dataloader_is_needed(tmp_path):
    path = write(
        tmp_path / 'child.py',
        "_base_ = 'mmseg_incremental::incremental/shapes_10-1.py'\n"
        'train_dataloader = None\n')
    with pytest.raises(IncrementalConfigError, match='train_dataloader=None'):
        load_config(path)
