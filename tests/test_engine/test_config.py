from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config
from mmseg.registry import MODELS

from mmseg_incremental.engine import build_step_cfg
from mmseg_incremental.engine import config as module
from mmseg_incremental.engine import load_config, load_method
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


def test_method_of_the_config_keeps_what_the_config_sets():
    path = 'mmseg_incremental::incremental/voc_15-1.py'
    assert load_config(path).method.distillation[0].loss_weight == 100
    same = load_config(path, method='mib')
    assert same.method.distillation[0].loss_weight == 100


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


def test_data_root_reaches_every_dataset():
    cfg = load_config(SHAPES, cfg_options=dict(data_root='/else'))
    roots = [
        cfg[f'{split}_dataloader'].dataset.dataset.data_root
        for split in ('train', 'val', 'test')
    ]
    assert roots == ['/else'] * 3
    assert cfg.source.data_root == '/else'


def test_data_root_leaves_what_the_user_set_beside_it():
    cfg = load_config(
        VOC,
        cfg_options={
            'data_root': '/new',
            'val_dataloader.dataset.data_root': '/mine'
        })
    assert cfg.train_dataloader.dataset.data_root == '/new'
    assert cfg.val_dataloader.dataset.data_root == '/mine'


@pytest.mark.parametrize('value', ['weights.pth', None])
def test_pretrained_reaches_the_backbone(value):
    cfg = load_config(VOC, cfg_options=dict(pretrained=value))
    assert cfg.model.backbone.init_cfg.checkpoint == value
    # Nothing else had that value.
    assert cfg.model.decode_head == load_config(VOC).model.decode_head


def test_pretrained_that_nothing_follows(tmp_path):
    path = write(tmp_path / 'c.py', f"_base_ = '{VOC}'\npretrained = None\n")
    with pytest.raises(IncrementalConfigError, match='has no effect'):
        load_config(path, cfg_options=dict(pretrained='a.pth'))


@pytest.mark.parametrize('option, hint', [
    ('scenaro.task', "did you mean 'scenario'"),
    ('data_rot', "did you mean 'data_root'"),
    ('xyz', 'which the config does not have; change'),
    ('pretrained', "'pretrained', which the config does not have"),
])
def test_options_that_the_config_does_not_have(option, hint):
    with pytest.raises(IncrementalConfigError, match=hint) as info:
        load_config(SHAPES, cfg_options={option: 'value'})
    assert f"{option}='value'" in str(info.value)


@pytest.mark.parametrize('option, value', [
    ('model.decode_head.new_key', 1),
    ('holdout.fraction', 0.2),
    ('num_panel_images', 0),
    ('find_unused_parameters', True),
    ('auto_scale_lr', dict(base_batch_size=16)),
])
def test_options_that_a_config_may_take(option, value):
    cfg = load_config(SHAPES, cfg_options={option: value})
    for key in option.split('.'):
        cfg = cfg[key]
    assert cfg == value


@pytest.mark.parametrize('options', [{
    'param_scheduler.7.end': 5
}, {
    'default_scope.x': 1
}])
def test_options_that_do_not_fit(options):
    with pytest.raises(IncrementalConfigError, match='do not fit the config'):
        load_config(SHAPES, cfg_options=options)


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
            match="'mbi' is unknown .did you mean 'mib'.*finetune, joint"):
        load_method('mbi')


def test_amp_needs_an_accelerator(monkeypatch):
    monkeypatch.setattr('mmengine.device.is_cuda_available', lambda: False)
    monkeypatch.setattr('mmengine.device.is_npu_available', lambda: False)
    with pytest.raises(IncrementalConfigError, match='--amp needs a GPU'):
        load_config(SHAPES, amp=True)


@pytest.mark.parametrize('wrapper', [None, 'OptimWrapper', 'AmpOptimWrapper'])
def test_amp(monkeypatch, wrapper):
    monkeypatch.setattr('mmengine.device.is_cuda_available', lambda: True)
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(lr=1))))
    if wrapper is not None:
        cfg.optim_wrapper.type = wrapper
    module._use_amp(cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    loss_scale = None if wrapper == 'AmpOptimWrapper' else 'dynamic'
    assert cfg.optim_wrapper.get('loss_scale') == loss_scale


def test_amp_of_another_wrapper(monkeypatch):
    monkeypatch.setattr('mmengine.device.is_cuda_available', lambda: True)
    with pytest.raises(IncrementalConfigError, match="type='ApexOptim"):
        load_config(
            SHAPES,
            cfg_options={'optim_wrapper.type': 'ApexOptimWrapper'},
            amp=True)


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


def test_method_cannot_be_renamed():
    with pytest.raises(IncrementalConfigError, match='--method'):
        load_config(SHAPES, cfg_options={'method.name': 'lwf'})


def test_train_dataloader_is_needed(tmp_path):
    path = write(
        tmp_path / 'child.py',
        "_base_ = 'mmseg_incremental::incremental/shapes_10-1.py'\n"
        'train_dataloader = None\n')
    with pytest.raises(IncrementalConfigError, match='train_dataloader=None'):
        load_config(path)
