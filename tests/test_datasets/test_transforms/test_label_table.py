import cv2
import numpy as np
import pytest
from mmseg.datasets.transforms import LoadAnnotations

from mmseg_incremental.datasets.transforms import (LoadAnnotationsByTable,
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
