import numpy as np
import pytest
from mmcv.transforms.utils import cache_random_params
from mmseg.registry import TRANSFORMS

from mmseg_incremental.datasets.transforms import AreaRandomResizedCrop
from mmseg_incremental.errors import IncrementalConfigError


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


def test_random_crop_keeps_labels_on_pixels(picture):
    transform = AreaRandomResizedCrop(64, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    original = picture(64, 64)
    results = transform(picture(64, 64))
    # The whole image at its own size: nothing may move.
    np.testing.assert_array_equal(results['img'], original['img'])
    np.testing.assert_array_equal(results['gt_seg_map'],
                                  original['gt_seg_map'])


@pytest.mark.parametrize('size, shape', [(12, (12, 12)), ((10, 14), (10, 14)),
                                         ([10, 14], (10, 14))])
def test_random_crop_output(picture, size, shape):
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


def test_random_crop_follows_seed(picture):
    transform = AreaRandomResizedCrop(16)
    np.random.seed(1)
    first = transform(picture(40, 60))['img']
    second = transform(picture(40, 60))['img']
    np.random.seed(1)
    again = transform(picture(40, 60))['img']
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, second)


def test_random_crop_caches_randomness(picture):
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
