import re
import runpy
from pathlib import Path

import pytest
from mmengine.config import ConfigDict

from mmseg_incremental.engine import build_step_cfg, build_test_cfg
from mmseg_incremental.engine.step_data import describe_resize
from mmseg_incremental.errors import IncrementalConfigError

_SMALL = runpy.run_path(str(Path(__file__).with_name('small_config.py')))
config, NAMES = (_SMALL[name] for name in ('config', 'NAMES'))


def test_stock_datasets_are_wrapped():
    cfg = config()
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset',
        times=3,
        dataset=dict(
            type='BaseSegDataset',
            metainfo=dict(classes=NAMES),
            data_root='root',
            pipeline=[dict(type='LoadAnnotations')]))
    train = build_step_cfg(cfg, 1).train_dataloader.dataset
    assert train.type == 'RepeatDataset'
    assert train.dataset == dict(
        type='IncrementalDataset',
        dataset=dict(
            type='BaseSegDataset',
            metainfo=dict(classes=NAMES),
            data_root='root'),
        pipeline=[dict(type='LoadAnnotations')],
        scenario=train.dataset.scenario,
        step=1,
        test_mode=False)
    assert train.dataset.scenario.task == '1-1'


def test_every_dataset_gets_its_step_and_mode():
    cfg = config(validate_during_step=True)
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset',
        datasets=[
            dict(type='BaseSegDataset', metainfo=dict(classes=NAMES)),
            dict(
                type='IncrementalDataset',
                dataset=dict(
                    type='BaseSegDataset', metainfo=dict(classes=NAMES)))
        ])
    step_cfg = build_step_cfg(cfg, 2)
    for inner in step_cfg.train_dataloader.dataset.datasets:
        assert (inner.type, inner.step,
                inner.test_mode) == ('IncrementalDataset', 2, False)
    for split in ('val', 'test'):
        inner = step_cfg[f'{split}_dataloader'].dataset
        assert (inner.step, inner.test_mode) == (2, True)


def test_datasets_with_other_classes():
    cfg = config()
    cfg.test_dataloader.dataset.metainfo.classes = NAMES[::-1]
    with pytest.raises(
            IncrementalConfigError, match='test_dataloader has a dataset wi'):
        build_step_cfg(cfg, 0)


def test_holdout_evaluates_on_training_images():
    cfg = config(holdout=dict(fraction=0.3, seed=5))
    cfg.train_dataloader.dataset.update(
        data_root='train', pipeline=[dict(type='A')])
    cfg.test_dataloader.dataset.update(
        data_root='val', pipeline=[dict(type='B')])
    step_cfg = build_step_cfg(cfg, 1)
    train, test = (
        step_cfg[f'{split}_dataloader'].dataset for split in ('train', 'test'))
    assert train.holdout == dict(fraction=0.3, seed=5, part='train')
    assert test.holdout == dict(fraction=0.3, seed=5, part='val')
    assert test.dataset.data_root == 'train'
    assert test.test_mode and not train.test_mode
    assert (train.pipeline[0].type, test.pipeline[0].type) == ('A', 'B')


@pytest.mark.parametrize('evaluator', [
    dict(type='IoUMetric', iou_metrics=['mIoU']),
    dict(type='IncrementalIoUMetric', iou_metrics=['mIoU'])
])
@pytest.mark.parametrize('many', [False, True])
def test_metric(evaluator, many):
    cfg = config(validate_during_step=True)
    for split in ('val', 'test'):
        cfg[f'{split}_dataloader'].dataset = dict(
            type='IncrementalDataset',
            background='dog',
            dataset=dict(type='BaseSegDataset', metainfo=dict(classes=NAMES)))
        cfg[f'{split}_evaluator'] = [evaluator,
                                     dict(type='CityscapesMetric')
                                     ] if many else evaluator
    cfg.train_dataloader = dict(dataset=cfg.test_dataloader.dataset)
    step_cfg = build_step_cfg(cfg, 0)
    for split in ('val', 'test'):
        found = step_cfg[f'{split}_evaluator']
        found, others = (found[0], found[1:]) if many else (found, [])
        assert found == dict(
            type='IncrementalIoUMetric',
            iou_metrics=['mIoU'],
            background='dog')
        assert others == [dict(type='CityscapesMetric')] * many


@pytest.mark.parametrize('during', [False, True])
def test_validation(during):
    step_cfg = build_step_cfg(config(validate_during_step=during), 0)
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        assert (step_cfg[key] is not None) == during
    assert step_cfg.test_dataloader is not None


@pytest.mark.parametrize('workers, persistent', [(0, False), (2, True)])
def test_persistent_workers(workers, persistent):
    cfg = config()
    cfg.train_dataloader.num_workers = workers
    loader = build_step_cfg(cfg, 0).train_dataloader
    assert loader.persistent_workers == persistent


def test_holdout_evaluates_on_every_part_of_the_training_data():
    cfg = config(holdout=dict(fraction=0.5))
    leaf = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = ConfigDict(
        type='ConcatDataset',
        datasets=[dict(leaf, ann_file='a'),
                  dict(leaf, ann_file='b')])
    step_cfg = build_test_cfg(cfg, 0)
    parts = step_cfg.test_dataloader.dataset.datasets
    assert [part.dataset.ann_file for part in parts] == ['a', 'b']
    assert {part.holdout.part for part in parts} == {'val'}


@pytest.mark.parametrize('transform, expected', [
    (dict(type='ResizeCenterCrop', size=512), 'centre crop 512'),
    (dict(type='Resize', scale=(2048, 256)), r'\(2048, 256\)'),
    (dict(type='LoadAnnotations'), 'none'),
])
def test_resize_is_named_in_the_results(transform, expected):
    cfg = config()
    cfg.test_dataloader.dataset.pipeline = [ConfigDict(transform)]
    assert re.search(expected, describe_resize(cfg))
