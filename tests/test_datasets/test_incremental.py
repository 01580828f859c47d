import pickle
import runpy
from pathlib import Path
from typing import Dict, Sequence

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from mmseg_incremental.errors import IncrementalConfigError

VOID = 255
_SMALL = runpy.run_path(str(Path(__file__).with_name('small_datasets.py')))
CLASSES = _SMALL['CLASSES']
PIPELINE = _SMALL['PIPELINE']
SCENARIO = _SMALL['SCENARIO']
build = _SMALL['build']
outputs = _SMALL['outputs']
random_masks = _SMALL['random_masks']
write_ade = _SMALL['write_ade']
write_cityscapes = _SMALL['write_cityscapes']
write_own = _SMALL['write_own']
write_voc = _SMALL['write_voc']


def rule(masks: Sequence[np.ndarray],
         new: Sequence[int],
         old: Sequence[int],
         setting: str = 'overlapped',
         train: bool = True,
         void: str = 'ignore',
         future: str = 'background',
         eval_images: str = 'seen',
         background: str = 'evaluate') -> Dict[int, np.ndarray]:
    """What a step gets, from the words of the papers; masks of labels."""
    seen = [*old, *new]
    result = {}
    for i, mask in enumerate(masks):
        held = set(np.unique(mask).tolist()) - {0, VOID}
        if train:
            keep = held & set(new)
            if setting != 'overlapped':
                keep = keep and held <= set(seen)
        else:
            keep = held & set(seen) or eval_images == 'all'
        if not keep:
            continue
        target = np.zeros_like(mask)
        for value in np.unique(mask):
            if value == VOID:
                index = 0 if train and void == 'background' else VOID
            elif value in new or value == 0:
                index = seen.index(value) if value in seen else 0
            elif value in old:
                hidden = train and setting != 'sequential'
                index = 0 if hidden else seen.index(value)
            else:
                index = VOID if not train and future == 'ignore' else 0
            if not train and background == 'ignore' and index == 0:
                index = VOID
            target[mask == value] = index
        result[i] = target
    return result


def assert_same(found: Dict[int, np.ndarray],
                expected: Dict[int, np.ndarray]) -> None:
    assert sorted(found) == sorted(expected)
    for key, mask in expected.items():
        np.testing.assert_array_equal(found[key], mask)


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('step', [0, 1, 2])
@pytest.mark.parametrize('setting', ['overlapped', 'disjoint', 'sequential'])
def test_images_and_labels_of_a_step(tmp_path, setting, step, train):
    masks = random_masks([0, 0, 1, 2, 3, VOID])
    dataset = build(
        write_own(tmp_path, masks),
        step,
        scenario=dict(SCENARIO, setting=setting),
        test_mode=not train)
    old = [list(range(0)), [0, 1], [0, 1, 2]][step]
    new = [[0, 1], [2], [3]][step]
    expected = rule(masks, new, old, setting, train)
    assert 0 < len(expected) < len(masks)
    assert_same(outputs(dataset), expected)
    assert dataset.metainfo['classes'] == CLASSES[:2 + step]


@pytest.mark.parametrize(
    'options', [
        dict(void='background'),
        dict(future='ignore'),
        dict(eval_images='all'),
        dict(background='ignore'),
        dict(void='background', future='ignore', background='ignore')
    ],
    ids=lambda options: '-'.join(map('='.join, options.items())))
@pytest.mark.parametrize('train', [True, False])
def test_protocol_options(tmp_path, options, train):
    masks = random_masks([0, 0, 1, 2, 3, VOID])
    config = write_own(tmp_path, masks)
    dataset = build(
        config, 1, scenario=dict(SCENARIO, **options), test_mode=not train)
    expected = rule(masks, [2], [0, 1], train=train, **options)
    assert_same(outputs(dataset), expected)
    plain = rule(masks, [2], [0, 1], train=train)
    changes = 'void' in options if train else set(options) != {'void'}
    # The option must matter here, or the test would show nothing.
    assert changes == any(not np.array_equal(expected[i], plain.get(i))
                          for i in expected)


def test_class_order_and_names(tmp_path):
    masks = random_masks([0, 0, 1, 2, 3, VOID])
    config = write_own(tmp_path, masks)
    scenario = dict(task='1-1', class_order=['horse', 'cat', 'dog'])
    for step, (new, old) in enumerate([([0, 3], []), ([1], [0, 3]),
                                       ([2], [0, 3, 1])]):
        dataset = build(config, step, scenario=scenario)
        assert_same(outputs(dataset), rule(masks, new, old))
    assert dataset.metainfo['classes'] == ('background', 'horse', 'cat', 'dog')


def test_voc(tmp_path):
    masks = random_masks([0, 3, 15, 16, 20, VOID])
    dataset = build(write_voc(tmp_path, masks), 1, scenario=dict(task='15-1'))
    assert_same(outputs(dataset), rule(masks, [16], list(range(16))))
    assert dataset.metainfo['classes'][-1] == 'pottedplant'
    assert dataset.metainfo['palette'][16] == [0, 64, 0]


@pytest.mark.parametrize('pipeline', [dict(), dict(reduce_zero_label=True)])
def test_ade_zero_is_the_background(tmp_path, pipeline):
    masks = random_masks([0, 1, 100, 101, 150, VOID])
    config = write_ade(tmp_path, masks)
    init_default_scope('mmseg')
    dataset = DATASETS.build(
        dict(
            config,
            scenario=dict(task='100-50'),
            step=1,
            # As the configs of MMSegmentation have it for ADE20K.
            pipeline=[
                PIPELINE[0],
                dict(type='LoadAnnotations', **pipeline), PIPELINE[2]
            ]))
    assert_same(
        outputs(dataset), rule(masks, list(range(101, 151)), list(range(101))))


@pytest.mark.parametrize('train', [True, False])
def test_cityscapes_gets_a_background(tmp_path, train):
    raw = random_masks([0, 10, 13, 14, 18, VOID])
    # Train ids start at the first class; label 0 is put before.
    masks = [np.where(mask == VOID, mask, mask + 1) for mask in raw]
    dataset = build(
        write_cityscapes(tmp_path, raw),
        1,
        scenario=dict(task='14-5'),
        test_mode=not train)
    assert_same(
        outputs(dataset),
        rule(masks, list(range(15, 20)), list(range(15)), train=train))
    assert dataset.metainfo['classes'][0] == 'background'
    assert len(dataset.metainfo['classes']) == 20


def test_background_class_is_not_the_first(tmp_path):
    raw = random_masks([0, 1, 2, VOID])
    config = write_own(tmp_path, raw)
    config['metainfo'] = dict(classes=('cat', 'rest', 'dog'))
    dataset = build(config, 1, background='rest')
    labels = np.arange(256, dtype=np.uint8)
    labels[[0, 1]] = 1, 0
    assert_same(
        outputs(dataset), rule([labels[mask] for mask in raw], [2], [0, 1]))
    assert dataset.metainfo['classes'] == ('rest', 'cat', 'dog')


def test_subset_of_classes_ignores_the_others(tmp_path):
    raw = random_masks([0, 8, 12, 15])
    config = dict(
        write_voc(tmp_path, raw),
        metainfo=dict(classes=('background', 'person', 'cat')))
    dataset = build(config, 1)
    labels = np.full(256, VOID, np.uint8)
    labels[[0, 15, 8]] = 0, 1, 2
    assert_same(
        outputs(dataset), rule([labels[mask] for mask in raw], [2], [0, 1]))


def test_config_types_do_not_reach_the_checkpoint(tmp_path):
    config = write_own(tmp_path / 'data', random_masks([0, 1, 2, 3]))
    config['metainfo']['palette'] = [[0, 0, 0], [1, 2, 3], [4, 5, 6],
                                     [7, 8, 9]]
    dataset = build(Config(dict(data=config)).data, 1)
    torch.save(dataset.metainfo, tmp_path / 'meta.pth')
    meta = torch.load(tmp_path / 'meta.pth', weights_only=True)
    assert meta['classes'] == CLASSES[:3]
    assert meta['palette'] == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize('lazy_init', [False, True])
def test_pickles(tmp_path, lazy_init):
    dataset = build(
        write_own(tmp_path, random_masks([0, 1, 2, 3])),
        lazy_init=lazy_init,
        serialize_data=True)
    copy = pickle.loads(pickle.dumps(dataset))
    assert_same(outputs(copy), outputs(dataset))


@pytest.mark.parametrize(
    'wrapper', [
        dict(type='RepeatDataset', times=2),
        dict(type='ClassBalancedDataset', oversample_thr=1e-3)
    ],
    ids=lambda wrapper: wrapper['type'])
def test_in_wrappers(tmp_path, wrapper):
    config = write_own(tmp_path, random_masks([0, 1, 2, 3]))
    inner = dict(
        type='IncrementalDataset',
        dataset=config,
        scenario=SCENARIO,
        step=1,
        pipeline=PIPELINE)
    plain = build(config, 1)
    wrapped = DATASETS.build(dict(wrapper, dataset=inner))
    assert len(wrapped) == len(plain) * wrapper.get('times', 1)
    assert wrapped.metainfo == plain.metainfo
    assert_same(
        {
            key: value
            for key, value in outputs(wrapped[i]
                                      for i in range(len(wrapped))).items()
        }, outputs(plain))


def test_concatenated(tmp_path):
    masks = random_masks([0, 1, 2, 3])
    inner = [
        dict(
            type='IncrementalDataset',
            dataset=write_own(tmp_path / name, masks),
            scenario=SCENARIO,
            step=1,
            pipeline=PIPELINE) for name in 'ab'
    ]
    init_default_scope('mmseg')
    both = DATASETS.build(dict(type='ConcatDataset', datasets=inner))
    assert len(both) == 2 * len(rule(masks, [2], [0, 1]))
    assert both.metainfo['classes'] == CLASSES[:3]


def test_categories_of_images(tmp_path):
    masks = random_masks([0, 1, 2, 3, VOID])
    dataset = build(write_own(tmp_path, masks), 2, test_mode=True)
    expected = rule(masks, [3], [0, 1, 2], train=False)
    assert [dataset.get_cat_ids(i) for i in range(len(dataset))] == [
        sorted(set(np.unique(mask).tolist()) - {VOID})
        for mask in expected.values()
    ]


def test_masks_with_ids_of_no_class(tmp_path):
    masks = random_masks([0, 1, 2, 3])
    masks[5][0, 0] = 9
    with pytest.raises(
            IncrementalConfigError,
            match=r'05.png holds the ids \[9\], but the 4 classes use 0-3 '):
        build(write_own(tmp_path, masks))


def test_no_image_for_a_step(tmp_path):
    config = write_own(tmp_path, random_masks([0, 1, 2]))
    with pytest.raises(IncrementalConfigError, match='step 2 .* no image'):
        build(config, 2)
