import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms.utils import cache_random_params
from mmengine.structures import PixelData
from mmseg.datasets.transforms import LoadAnnotations, PackSegInputs
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample

from mmseg_incremental.datasets.transforms import (AreaRandomResizedCrop,
                                                   LoadAnnotationsByTable,
                                                   ResizeCenterCrop,
                                                   build_label_table)
from mmseg_incremental.errors import IncrementalConfigError

LABEL_MAPS = [
    None,
    {},
    {
        0: 0,
        3: 1,
        7: 255,
        255: 0
    },
    # Each label becomes another one's old label.
    {
        label: (label + 1) % 256
        for label in range(256)
    },
    # No uint8 mask holds these labels.
    {
        -1: 4,
        300: 5,
        2: 6
    },
]


@pytest.fixture(params=[(33, 47), (5, 1)])
def seg_map_path(request, tmp_path):
    rng = np.random.RandomState(0)
    mask = rng.randint(0, 256, request.param, dtype=np.uint8)
    path = tmp_path / 'mask.png'
    cv2.imwrite(str(path), mask)
    return str(path)


def load_results(seg_map_path, reduce_zero_label=False, **kwargs):
    return dict(
        seg_map_path=seg_map_path,
        seg_fields=[],
        reduce_zero_label=reduce_zero_label,
        **kwargs)


@pytest.mark.parametrize('reduce_zero_label', [False, True])
@pytest.mark.parametrize('label_map', LABEL_MAPS)
def test_load_equals_stock(seg_map_path, label_map, reduce_zero_label):
    results = [
        transform(
            load_results(seg_map_path, reduce_zero_label, label_map=label_map))
        for transform in (LoadAnnotations(), LoadAnnotationsByTable())
    ]
    expected, actual = (result['gt_seg_map'] for result in results)
    np.testing.assert_array_equal(actual, expected)
    assert actual.dtype == np.uint8
    assert results[1]['seg_fields'] == ['gt_seg_map']
    assert results[1]['label_map'] is label_map


def test_load_prefers_table(seg_map_path):
    table = np.full(256, 9, np.uint8)
    results = LoadAnnotationsByTable()(
        load_results(seg_map_path, label_map={1: 2}, label_table=table))
    assert (results['gt_seg_map'] == 9).all()


@pytest.mark.parametrize('table', [
    np.arange(256),
    np.arange(255, dtype=np.uint8),
    list(range(256)),
])
def test_load_refuses_other_tables(seg_map_path, table):
    with pytest.raises(IncrementalConfigError, match='uint8 array of shape'):
        LoadAnnotationsByTable()(load_results(seg_map_path, label_table=table))


def test_load_follows_changed_map(seg_map_path):
    transform, label_map = LoadAnnotationsByTable(), {1: 2}
    transform(load_results(seg_map_path, label_map=label_map))
    label_map.update({label: 7 for label in range(256)})
    results = transform(load_results(seg_map_path, label_map=label_map))
    assert (results['gt_seg_map'] == 7).all()


def test_load_leaves_decoded_mask(seg_map_path, monkeypatch):
    mask = np.full((4, 4), 3, np.uint8)
    monkeypatch.setattr('mmcv.imfrombytes', lambda *args, **kwargs: mask)
    results = LoadAnnotationsByTable()(
        load_results(seg_map_path, label_map={3: 1}))
    assert (results['gt_seg_map'] == 1).all()
    assert (mask == 3).all()


def test_label_table_is_built_once():
    table = build_label_table({5: 1, 6: 255})
    assert build_label_table({5: 1, 6: 255}) is table
    assert build_label_table({5: 1, 6: 254}) is not table
    expected = np.arange(256, dtype=np.uint8)
    expected[[5, 6]] = 1, 255
    np.testing.assert_array_equal(table, expected)
    with pytest.raises(ValueError, match='read-only'):
        table[0] = 1


@pytest.mark.parametrize('new', [-1, 256])
def test_label_table_refuses_range(new):
    with pytest.raises(
            IncrementalConfigError, match=f'sends label 4 to {new}'):
        build_label_table({4: new})


def picture(height, width, seed=0):
    """An image whose first channel equals its segmentation map."""
    rng = np.random.RandomState(seed)
    img = rng.randint(0, 256, (height, width, 3), dtype=np.uint8)
    return dict(
        img=img,
        gt_seg_map=img[..., 0].copy(),
        seg_fields=['gt_seg_map'],
        img_shape=(height, width),
        ori_shape=(height, width))


def sample_crops(transform, height, width, number=300):
    np.random.seed(0)
    return np.array(
        [transform._sample_crop(height, width) for _ in range(number)])


@pytest.mark.parametrize('height, width', [(375, 500), (500, 333), (64, 64)])
def test_random_crop_stays_within_bounds(height, width):
    transform = AreaRandomResizedCrop(8, scale=(0.2, 0.6))
    top, left, crop_h, crop_w = sample_crops(transform, height, width).T
    assert (top >= 0).all() and (top + crop_h <= height).all()
    assert (left >= 0).all() and (left + crop_w <= width).all()
    # Rounding moves a side by half a pixel at most.
    area = height * width
    slack = 0.5 * (crop_h + crop_w) + 1
    assert (crop_h * crop_w >= 0.2 * area - slack).all()
    assert (crop_h * crop_w <= 0.6 * area + slack).all()
    ratio, slack = crop_w / crop_h, 1 / crop_h
    assert (ratio >= 3 / 4 - slack).all() and (ratio <= 4 / 3 + slack).all()


def test_random_crop_distribution():
    transform = AreaRandomResizedCrop(8, scale=(0.1, 0.3), ratio=(0.5, 2.0))
    top, left, crop_h, crop_w = sample_crops(transform, 1000, 1000, 4000).T
    # Uniform area share, uniform logarithm of the ratio, uniform position.
    assert np.mean(crop_h * crop_w) / 1e6 == pytest.approx(0.2, abs=0.004)
    log_ratio = np.log(crop_w / crop_h) / np.log(2)
    assert np.mean(log_ratio) == pytest.approx(0, abs=0.04)
    assert np.var(log_ratio) == pytest.approx(1 / 3, abs=0.02)
    assert np.mean(top / (1000 - crop_h)) == pytest.approx(0.5, abs=0.02)
    assert np.mean(left / (1000 - crop_w)) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    'height, width, crop',
    [
        (100, 100, (0, 0, 100, 100)),
        # A ratio of 4 is clipped to 4 / 3, one of 1 / 4 to 3 / 4.
        (90, 360, (0, 120, 90, 120)),
        (360, 90, (120, 0, 120, 90))
    ])
def test_random_crop_fallback(height, width, crop):
    transform = AreaRandomResizedCrop(8, scale=(5.0, 6.0))
    assert transform._sample_crop(height, width) == crop


def test_random_crop_keeps_labels_on_pixels():
    transform = AreaRandomResizedCrop(64, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    original = picture(64, 64)
    results = transform(picture(64, 64))
    # The whole image at its own size: nothing may move.
    np.testing.assert_array_equal(results['img'], original['img'])
    np.testing.assert_array_equal(results['gt_seg_map'],
                                  original['gt_seg_map'])


@pytest.mark.parametrize('size, shape', [(12, (12, 12)), ((10, 14), (10, 14)),
                                         ([10, 14], (10, 14))])
def test_random_crop_output(size, shape):
    transform = TRANSFORMS.build(dict(type='AreaRandomResizedCrop', size=size))
    results = picture(40, 60)
    results['gt_seg_map'] = np.where(results['gt_seg_map'] > 99, 7, 255)
    results['gt_seg_map'] = results['gt_seg_map'].astype(np.uint8)
    results = transform(results)
    assert results['img'].shape == (*shape, 3)
    assert results['img_shape'] == shape
    assert results['gt_seg_map'].shape == shape
    # Labels are taken, never mixed.
    assert set(np.unique(results['gt_seg_map'])) == {7, 255}


def test_random_crop_crops_image_and_map_alike():
    transform = AreaRandomResizedCrop(16, scale=(0.3, 0.3), ratio=(1.0, 1.0))
    rows = np.repeat(np.arange(0, 200, 5, dtype=np.uint8)[:, None], 40, axis=1)
    np.random.seed(3)
    results = transform(
        dict(
            img=np.stack([rows] * 3, axis=-1),
            gt_seg_map=rows.copy(),
            seg_fields=['gt_seg_map']))
    difference = results['img'][..., 0].astype(int) - results['gt_seg_map']
    assert results['gt_seg_map'].min() > 0
    assert np.abs(difference).max() <= 5


def test_random_crop_follows_seed():
    transform = AreaRandomResizedCrop(16)
    np.random.seed(1)
    first = transform(picture(40, 60))['img']
    second = transform(picture(40, 60))['img']
    np.random.seed(1)
    again = transform(picture(40, 60))['img']
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)


def test_random_crop_caches_randomness():
    transform = AreaRandomResizedCrop(16)
    with cache_random_params(transform):
        first = transform(picture(40, 60))['img']
        second = transform(picture(40, 60))['img']
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize('kwargs, match', [
    (dict(size=0), 'size is 0'),
    (dict(size=(8, 8, 8)), r'size is \(8, 8, 8\)'),
    (dict(size=(8, 8.5)), 'size is 8.5'),
    (dict(size=8, scale=(2.0, 0.5)), r'scale is \(2.0, 0.5\)'),
    (dict(size=8, ratio=(0, 1)), r'ratio is \(0, 1\)'),
    (dict(size=8, max_attempts=-1), 'max_attempts is -1'),
])
def test_random_crop_refuses(kwargs, match):
    with pytest.raises(IncrementalConfigError, match=match):
        AreaRandomResizedCrop(**kwargs)


@pytest.mark.parametrize('height, width', [(50, 30), (30, 50), (30, 30),
                                           (20, 77)])
def test_center_crop_output(height, width):
    transform = TRANSFORMS.build(dict(type='ResizeCenterCrop', size=24))
    results = transform(picture(height, width))
    assert results['img'].shape == (24, 24, 3)
    assert results['gt_seg_map'].shape == (24, 24)
    for key in ('img_shape', 'ori_shape', 'pad_shape'):
        assert results[key] == (24, 24)


@pytest.mark.parametrize('height, width, left', [(30, 51, 10), (30, 53, 12)])
def test_center_crop_takes_center(height, width, left):
    # The short side has the size already, so only the crop is left; halves
    # are rounded to even numbers, as torchvision does.
    results = ResizeCenterCrop(30)(picture(height, width))
    expected = picture(height, width)
    columns = slice(left, left + 30)
    np.testing.assert_array_equal(results['img'], expected['img'][:, columns])
    np.testing.assert_array_equal(results['gt_seg_map'],
                                  expected['gt_seg_map'][:, columns])
    assert results['scale_factor'] == (1.0, 1.0)


def test_center_crop_cuts_long_side_off():
    # 24 * 46 / 31 is 35.6, which rounding would make 36.
    results = ResizeCenterCrop(24)(picture(31, 46))
    assert results['scale_factor'] == (35 / 46, 24 / 31)


def test_center_crop_keeps_labels_under_their_pixels():
    # The label is that of the source pixel which holds the center of the
    # target pixel.
    results = ResizeCenterCrop(16)(picture(10, 10))
    source = ((np.arange(16) + 0.5) * 10 / 16).astype(int)
    expected = picture(10, 10)['gt_seg_map'][np.ix_(source, source)]
    np.testing.assert_array_equal(results['gt_seg_map'], expected)


def test_center_crop_without_map():
    results = ResizeCenterCrop(8)(dict(img=np.zeros((10, 20), np.float32)))
    assert results['img'].shape == (8, 8)
    assert results['img'].dtype == np.float32


@pytest.mark.parametrize('size', [0, -3, 2.5, (8, 8), True])
def test_center_crop_refuses(size):
    with pytest.raises(IncrementalConfigError, match='positive integers'):
        ResizeCenterCrop(size)


def test_center_crop_predictions_match_labels():
    packed = PackSegInputs()(ResizeCenterCrop(24)(picture(30, 50)))
    sample = packed['data_samples']
    assert isinstance(sample, SegDataSample)

    class Segmentor:
        align_corners = False

    BaseSegmentor.postprocess_result(
        Segmentor(), torch.rand(1, 3, 24, 24), data_samples=[sample])
    assert isinstance(sample.pred_sem_seg, PixelData)
    assert sample.pred_sem_seg.shape == sample.gt_sem_seg.shape == (24, 24)
