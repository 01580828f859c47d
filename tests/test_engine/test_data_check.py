from pathlib import Path

import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from mmseg_incremental.engine import build_step_cfg
from mmseg_incremental.engine.data_check import (check_data, count_images,
                                                 count_step_images)
from mmseg_incremental.engine.hooks.label_completion_hook import (
    PURPOSE, completion_loader)
from mmseg_incremental.engine.step_config import final_checkpoint
from mmseg_incremental.errors import IncrementalConfigError

WORKERS = {'train_dataloader.num_workers': 1, 'test_dataloader.num_workers': 1}


def test_evaluation_data_is_needed(tiny_cfg, tmp_path):
    cfg = tiny_cfg(tmp_path, test_dataloader=None)
    with pytest.raises(IncrementalConfigError, match='test_dataloader is'):
        check_data(cfg, [0])


@pytest.mark.parametrize('lazily', [False, True])
@pytest.mark.parametrize('options', [{}, WORKERS])
def test_data(tiny_cfg, tmp_path, options, lazily):
    cfg = tiny_cfg(tmp_path, **options)
    cfg.train_dataloader.dataset.lazy_init = lazily
    check_data(cfg, range(3))
    train, test = count_step_images(build_step_cfg(cfg, 0))
    assert (train, test) == (24, 8)
    cfg.train_dataloader.dataset.dataset.data_prefix = dict(
        img_path='JPEGImages', seg_map_path='none')
    with pytest.raises(IncrementalConfigError, match='24 of 24 masks do not'):
        check_data(cfg, [1])


@pytest.mark.parametrize('wrapper, times', [
    (lambda inner: inner, 1),
    (lambda inner: dict(type='RepeatDataset', times=5, dataset=inner), 1),
    (lambda inner: dict(
        type='ClassBalancedDataset', oversample_thr=0.9, dataset=inner), 1),
    (lambda inner: dict(type='ConcatDataset', datasets=[inner, inner]), 2),
    (lambda inner: dict(
        type='ConcatDataset',
        datasets=[inner,
                  dict(type='RepeatDataset', times=3, dataset=inner)]), 2),
    (lambda inner: dict(
        type='MultiImageMixDataset', dataset=inner, pipeline=[]), 1),
])
def test_images_are_counted_once(tiny_cfg, tmp_path, wrapper, times):
    cfg = build_step_cfg(tiny_cfg(tmp_path), 1)
    init_default_scope('mmseg')
    inner = cfg.train_dataloader.dataset
    number = len(DATASETS.build(inner))
    assert count_images(DATASETS.build(wrapper(inner))) == times * number


def has_loader(loaders, cfg, purpose):
    cfg = cfg[f'{purpose}_dataloader']
    return loaders.dataset(cfg.dataset) is not None


def test_loaders_of_a_run(tiny_cfg, tmp_path):
    cfg = tiny_cfg(tmp_path, **WORKERS)
    step_cfgs = [build_step_cfg(cfg, step) for step in range(3)]
    path = Path(final_checkpoint(cfg, 0))
    path.parent.mkdir(parents=True)
    path.touch()
    loaders = check_data(cfg, range(3))
    # A trained step is evaluated only.
    assert [has_loader(loaders, c, 'train')
            for c in step_cfgs] == [False, True, True]
    assert all(has_loader(loaders, c, 'test') for c in step_cfgs)

    cfg = tiny_cfg(tmp_path)
    loaders = check_data(cfg, range(3))
    assert not any(has_loader(loaders, c, 'test') for c in step_cfgs)


def test_loaders_of_validation_and_label_completion(tiny_cfg, tmp_path):
    cfg = tiny_cfg(
        tmp_path,
        'plop',
        validate_during_step=True,
        **WORKERS,
        **{'val_dataloader.num_workers': 1})
    with check_data(cfg, range(2)) as loaders:
        check_purposes(cfg, loaders)


def check_purposes(cfg, loaders):
    for step in range(2):
        step_cfg = build_step_cfg(cfg, step)
        assert loaders.get(step_cfg.val_dataloader, 0) in loaders
        completion = completion_loader(step_cfg.train_dataloader)
        found = loaders.get(completion, 0, purpose=PURPOSE)
        assert (found is None) == (step == 0)
        # The settings of both are the same here.
        assert loaders.get(step_cfg.train_dataloader, 0) is not found
        assert count_step_images(step_cfg)[1] == 8
