import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmseg_incremental.engine import build_scenario
from mmseg_incremental.engine.scenario_config import (class_names,
                                                      dataset_name, is_joint,
                                                      leaf_datasets)
from mmseg_incremental.errors import IncrementalConfigError

OWN = dict(
    type='BaseSegDataset',
    metainfo=dict(classes=('background', 'cat', 'dog', 'cow')))


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


def config(dataset=OWN, **kwargs):
    kwargs.setdefault('scenario', dict(task='2-1'))
    return Config(dict(train_dataloader=dict(dataset=dataset), **kwargs))


@pytest.mark.parametrize('dataset, names', [
    (OWN, ('background', 'cat', 'dog', 'cow')),
    (dict(type='IncrementalDataset', dataset=OWN),
     ('background', 'cat', 'dog', 'cow')),
    (dict(type='IncrementalDataset', dataset=OWN, background='dog'),
     ('dog', 'background', 'cat', 'cow')),
    (dict(type='RepeatDataset', times=2, dataset=OWN),
     ('background', 'cat', 'dog', 'cow')),
    (dict(type='ConcatDataset', datasets=[OWN, OWN]),
     ('background', 'cat', 'dog', 'cow')),
    (dict(
        type='IncrementalPascalVOCDataset',
        metainfo=dict(classes=('background', 'cat'))), ('background', 'cat')),
])
def test_class_names(dataset, names):
    assert class_names(config(dataset)) == names


@pytest.mark.parametrize('name, length, first', [
    ('PascalVOCDataset', 21, 'aeroplane'),
    ('IncrementalPascalVOCDataset', 21, 'aeroplane'),
    ('ADE20KDataset', 151, 'wall'),
    ('IncrementalADE20KDataset', 151, 'wall'),
    ('IncrementalCityscapesDataset', 20, 'road'),
    ('ShapesDataset', 21, 'disc'),
])
def test_class_names_of_registered_datasets(name, length, first):
    names = class_names(config(dict(type=name)))
    assert len(names) == length
    assert names[:2] == ('background', first)


def test_class_names_from_a_file(tmp_path):
    (tmp_path / 'names.txt').write_text('background\ncat\ndog\n')
    dataset = dict(
        type='BaseSegDataset',
        metainfo=dict(classes=str(tmp_path / 'names.txt')))
    assert class_names(config(dataset)) == ('background', 'cat', 'dog')
    dataset['metainfo']['classes'] = 'missing.txt'
    with pytest.raises(IncrementalConfigError, match="'missing.txt' is no"):
        class_names(config(dataset))


@pytest.mark.parametrize('dataset, message', [
    (dict(type='BaseSegDataset'), 'BaseSegDataset has no class names'),
    (dict(type='IncrementalDataset'), 'needs the key "dataset"'),
    (dict(type='NoDataset'), "'NoDataset' is not registered"),
])
def test_no_class_names(dataset, message):
    with pytest.raises(IncrementalConfigError, match=message):
        class_names(config(dataset))


@pytest.mark.parametrize('dataset, name', [
    (OWN, 'BaseSegDataset'),
    (dict(type='IncrementalDataset', dataset=OWN), 'BaseSegDataset'),
    (dict(type='RepeatDataset', times=2, dataset=OWN), 'BaseSegDataset'),
    (dict(type='IncrementalADE20KDataset'), 'IncrementalADE20KDataset'),
])
def test_dataset_name(dataset, name):
    assert dataset_name(config(dataset)) == name


def test_leaves_of_nested_wrappers():
    inner = dict(type='IncrementalDataset', dataset=OWN)
    nested = dict(
        type='ConcatDataset',
        datasets=[dict(type='RepeatDataset', times=2, dataset=inner), OWN])
    assert list(leaf_datasets(nested)) == [inner, OWN]


def test_scenario_has_the_names_of_the_dataset():
    scenario = build_scenario(
        config(scenario=dict(task='1-1', class_order=['dog', 'cow', 'cat'])))
    assert scenario.names(scenario.seen(1)) == ('background', 'dog', 'cow')


def test_explicit_steps_from_a_config():
    scenario = build_scenario(
        config(scenario=dict(task=[['dog'], ['cat', 'cow']])))
    assert scenario.names(scenario.new(1)) == ('cat', 'cow')


def test_joint():
    cfg = config(method=dict(joint=True))
    assert is_joint(cfg) and not is_joint(config())
    assert len(build_scenario(cfg)) == 1
    assert len(build_scenario(cfg, joint=False)) == 2
    assert len(build_scenario(config(), joint=True)) == 1


@pytest.mark.parametrize('scenario, message', [
    (dict(setting='disjoint'), 'scenario.task is missing'),
    (dict(task='2-1', order=1),
     r"order=1 is unknown.*allowed are task, setting, class_order"),
    (dict(task='2-1', seting='x'), "did you mean 'setting'"),
    (dict(task='2-1', num_classes=5), 'num_classes=5 is unknown'),
])
def test_keys(scenario, message):
    with pytest.raises(IncrementalConfigError, match=message):
        build_scenario(config(scenario=scenario))
