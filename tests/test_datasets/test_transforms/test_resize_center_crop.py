import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.datasets.transforms import PackSegInputs
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample

from mmseg_incremental.datasets.transforms import ResizeCenterCrop
from mmseg_incremental.errors import IncrementalConfigError


@pytest.mark.parametrize('height, width', [(50, 30), (30, 50), (30, 30),
                                           (20, 77)])
def test_center_crop_output(picture, height, width):
    transform = TRANSFORMS.build(dict(type='ResizeCenterCrop', size=24))
    results = transform(picture(height, width))
    assert results['img'].shape == (24, 24, 3)
    assert results['gt_seg_map'].shape == (24, 24)
    for key in ('img_shape', 'ori_shape', 'pad_shape'):
        assert results[key] == (24, 24)


@pytest.mark.parametrize('height, width, left', [(30, 51, 10), (30, 53, 12)])
def test_center_crop_takes_center(picture, height, width, left):
    # The short side has the size already, so only the crop is left; halves
    # are rounded to even numbers, as torchvision does.
    results = ResizeCenterCrop(30)(picture(height, width))
    expected = picture(height, width)
    columns = slice(left, left + 30)
    np.testing.assert_array_equal(results['img'], expected['img'][:, columns])
    np.testing.assert_array_equal(results['gt_seg_map'],
                                  expected['gt_seg_map'][:, columns])
    assert results['scale_factor'] == (1.0, 1.0)


def test_center_crop_cuts_long_side_off(picture):
    # 24 * 46 / 31 is 35.6, which rounding would make 36.
    results = ResizeCenterCrop(24)(picture(31, 46))
    assert results['scale_factor'] == (35 / 46, 24 / 31)


def test_center_crop_keeps_labels_under_their_pixels(picture):
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


def test_center_crop_predictions_match_labels(picture):
    packed = PackSegInputs()(ResizeCenterCrop(24)(picture(30, 50)))
    sample = packed['data_samples']
    assert isinstance(sample, SegDataSample)

    class Segmentor:
        align_corners = False

    BaseSegmentor.postprocess_result(
        Segmentor(), torch.rand(1, 3, 24, 24), data_samples=[sample])
    assert isinstance(sample.pred_sem_seg, PixelData)
    assert sample.pred_sem_seg.shape == sample.gt_sem_seg.shape == (24, 24)
