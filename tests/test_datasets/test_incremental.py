import pickle
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from mmseg_incremental.errors import IncrementalConfigError

VOID = 255
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')
]
# Three foreground classes, one in each step; label = raw id.
SCENARIO = dict(task='1-1')
CLASSES = ('background', 'cat', 'dog', 'horse')


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def random_masks(ids: Sequence[int], number: int = 20) -> List[np.ndarray]:
    """Masks of 6 x 8 pixels, each with at most two of the raw ids."""
    random = np.random.RandomState(0)
    return [
        random.choice(random.choice(ids, 2, replace=False),
                      (6, 8)).astype(np.uint8) for _ in range(number)
    ]


def write_own(root: Path, masks: Sequence[np.ndarray]) -> dict:
    """Images and masks in two folders; config of the dataset."""
    for i, mask in enumerate(masks):
        save(root / 'img' / f'{i:02d}.jpg', np.zeros((*mask.shape, 3),
                                                     np.uint8))
        save(root / 'ann' / f'{i:02d}.png', mask)
    return dict(
        type='BaseSegDataset',
        data_root=str(root),
        data_prefix=dict(img_path='img', seg_map_path='ann'),
        metainfo=dict(classes=CLASSES))


def write_voc(root: Path, masks: Sequence[np.ndarray]) -> dict:
    write_own(root, masks)
    names = ''.join(f'{i:02d}\n' for i in range(len(masks)))
    (root / 'list.txt').write_text(names)
    return dict(
        type='IncrementalPascalVOCDataset',
        data_root=str(root),
        ann_file='list.txt',
        data_prefix=dict(img_path='img', seg_map_path='ann'))


def write_ade(root: Path, masks: Sequence[np.ndarray]) -> dict:
    config = write_own(root, masks)
    config.pop('metainfo')
    return dict(config, type='IncrementalADE20KDataset')


def write_cityscapes(root: Path, masks: Sequence[np.ndarray]) -> dict:
    for i, mask in enumerate(masks):
        stem = f'town/town_{i:02d}'
        save(root / 'img' / f'{stem}_leftImg8bit.png',
             np.zeros((*mask.shape, 3), np.uint8))
        save(root / 'ann' / f'{stem}_gtFine_labelTrainIds.png', mask)
    return dict(
        type='IncrementalCityscapesDataset',
        data_root=str(root),
        data_prefix=dict(img_path='img', seg_map_path='ann'))


def build(config: dict, step: int = 0, **kwargs: Any) -> Any:
    init_default_scope('mmseg')
    if not config['type'].startswith('Incremental'):
        config = dict(type='IncrementalDataset', dataset=config)
    kwargs.setdefault('scenario', SCENARIO)
    # MMEngine collects garbage when it serialises, which takes its time.
    kwargs.setdefault('serialize_data', False)
    return DATASETS.build(dict(config, step=step, pipeline=PIPELINE, **kwargs))


def outputs(dataset: Any) -> Dict[int, np.ndarray]:
    """Labels after the pipeline, by the number in the file name."""
    result = {}
    for item in dataset:
        sample = item['data_samples']
        number = Path(sample.img_path).stem.split('_')
        number = next(int(part) for part in number if part.isdigit())
        result[number] = sample.gt_sem_seg.data[0].numpy()
    return result


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


@pytest.mark.parametrize('step', [0, 1, 2])
def test_holdout_parts(tmp_path, step):
    config = write_own(tmp_path, random_masks([0, 1, 2, 3], number=20))
    parts = {
        part:
        set(
            outputs(
                build(
                    config,
                    step,
                    holdout=dict(fraction=0.4, seed=3, part=part))))
        for part in ('train', 'val')
    }
    everything = set(outputs(build(config, step)))
    assert parts['train'] | parts['val'] == everything
    assert not parts['train'] & parts['val']
    # The split is of the images, so one is in the same part at every step.
    held_out = set(np.random.RandomState(3).permutation(20)[:8].tolist())
    assert parts['val'] == everything & held_out


@pytest.mark.parametrize('holdout', [
    dict(part='test'),
    dict(fraction=0, part='val'),
    dict(fraction=1.0, part='train')
])
def test_impossible_holdout(tmp_path, holdout):
    config = write_own(tmp_path, random_masks([0, 1, 2, 3]))
    with pytest.raises(IncrementalConfigError, match='0 < fraction < 1'):
        build(config, holdout=holdout)


def without(path: Path) -> None:
    path.rename(path.with_name('elsewhere'))


@pytest.mark.parametrize('write, missing, message', [
    (write_voc, '.', "data_root='.*' is not a PascalVOCDataset.*exist"),
    (write_voc, 'list.txt', 'list.txt does not exist; set data_root'),
    (write_voc, 'img', '/img does not exist; set data_root'),
    (write_voc, 'ann', '20 of 20 masks do not exist.*data_prefix'),
    (write_voc, 'ann/03.png', "1 of 20 masks do not exist.*03.png'"),
    (write_voc, 'img/03.jpg', r"1 of \d+ images of step 0 .*03.jpg'"),
    (write_ade, '.', "data_root='.*' cannot be read: .*set data_root"),
    (write_ade, 'ann', '20 of 20 masks do not exist'),
    (write_cityscapes, '.', "data_root='.*' cannot be read: .*set data_root"),
    (write_own, 'img', "data_root='.*' cannot be read: .*/img"),
    (write_own, 'img/03.jpg', None),
])
def test_missing_files(tmp_path, write, missing, message):
    root = tmp_path / 'root'
    config = write(root, random_masks([0, 1, 2, 3]))
    assert len(build(config)) > 0
    without(root / missing if missing != '.' else root)
    if message is None:
        # Without a list the images that are there are the data set.
        assert 3 not in outputs(build(config))
        return
    with pytest.raises(IncrementalConfigError, match=message):
        build(config)


def test_only_images_of_the_step_are_looked_for(tmp_path):
    masks = [np.full((6, 8), label, np.uint8) for label in (1, 2, 3)]
    config = write_voc(tmp_path, masks)
    without(tmp_path / 'img' / '02.jpg')
    assert len(build(config, scenario=dict(task=[[1], [3]]))) == 1
    with pytest.raises(IncrementalConfigError, match='1 of 1 images of step'):
        build(config, 1, scenario=dict(task=[[1], [3]]))


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


def test_empty_root(tmp_path):
    config = write_own(tmp_path, random_masks([0, 1, 2]))
    config['img_suffix'] = '.bmp'
    with pytest.raises(IncrementalConfigError, match='holds no image'):
        build(config)


@pytest.mark.parametrize('change, message', [
    (dict(data_prefix=dict(img_path='img')), 'names no masks'),
    (dict(colour='red'), "BaseSegDataset cannot be built.*'colour'"),
    (dict(metainfo=dict(classes=CLASSES, palette=[[0, 0, 0]])),
     'BaseSegDataset cannot be built.*palette'),
])
def test_config_that_is_wrong(tmp_path, change: dict, message: str):
    config = write_own(tmp_path, random_masks([0, 1, 2, 3]))
    with pytest.raises(IncrementalConfigError, match=message):
        build({**config, **change})


@pytest.mark.parametrize('dataset, message', [
    (None, 'needs the key "dataset"'),
    (dict(type='BaseSegDataset'), r"got \['data_root'\] beside"),
])
def test_where_arguments_belong(dataset: Optional[dict], message: str):
    with pytest.raises(IncrementalConfigError, match=message):
        build(
            dict(
                type='IncrementalDataset',
                dataset=dataset,
                **({} if dataset is None else dict(data_root='x'))))
