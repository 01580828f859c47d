import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from mmseg_incremental.datasets import ClassList
from mmseg_incremental.errors import IncrementalConfigError

VOID = 255


def class_list(type: str = 'BaseSegDataset',
               background: str = 'background',
               **kwargs) -> ClassList:
    init_default_scope('mmseg')
    dataset = DATASETS.build(dict(type=type, lazy_init=True, **kwargs))
    return ClassList.from_dataset(dataset, background)


def labels(**mapping: int) -> np.ndarray:
    """Look-up table with void for all values that are not given."""
    table = np.full(256, VOID)
    for raw, label in mapping.items():
        table[int(raw[1:])] = label
    return table


def test_background_first():
    found = class_list(
        metainfo=dict(
            classes=('background', 'cat', 'dog'),
            palette=[[1, 1, 1], [2, 2, 2], [3, 3, 3]]))
    assert found.names == ('background', 'cat', 'dog')
    assert found.palette == [[1, 1, 1], [2, 2, 2], [3, 3, 3]]
    assert found.raw_to_label.dtype == np.uint8
    np.testing.assert_array_equal(found.raw_to_label, labels(r0=0, r1=1, r2=2))
    assert np.flatnonzero(found.defined).tolist() == [0, 1, 2, VOID]


def test_background_elsewhere_comes_first():
    found = class_list(
        background='other',
        metainfo=dict(
            classes=('cat', 'other', 'dog'),
            palette=[[1, 1, 1], [2, 2, 2], [3, 3, 3]]))
    assert found.names == ('other', 'cat', 'dog')
    assert found.palette == [[2, 2, 2], [1, 1, 1], [3, 3, 3]]
    np.testing.assert_array_equal(found.raw_to_label, labels(r0=1, r1=0, r2=2))


def test_background_is_added_in_front():
    found = class_list('CityscapesDataset')
    assert found.names[:3] == ('background', 'road', 'sidewalk')
    assert len(found.names) == len(found.palette) == 20
    np.testing.assert_array_equal(found.raw_to_label[:19], np.arange(1, 20))
    # No pixel of Cityscapes is background of its own.
    assert 0 not in found.raw_to_label
    assert np.flatnonzero(found.defined).tolist() == [*range(19), VOID]


def test_reduced_zero_label_is_the_background():
    found = class_list('ADE20KDataset')
    assert found.names[:2] == ('background', 'wall')
    assert len(found.names) == 151
    np.testing.assert_array_equal(found.raw_to_label[:151], np.arange(151))
    assert (found.raw_to_label[151:] == VOID).all()
    assert np.flatnonzero(found.defined).tolist() == [*range(151), VOID]


def test_subset_of_classes():
    # Raw ids of Pascal VOC: 8 cat, 12 dog, 15 person.
    classes = ('background', 'person', 'cat')
    found = class_list(
        'PascalVOCDataset',
        metainfo=dict(classes=classes),
        data_prefix=dict(img_path='.'),
        ann_file=__file__)
    assert found.names == classes
    assert found.palette == [[0, 0, 0], [192, 128, 128], [64, 0, 0]]
    np.testing.assert_array_equal(found.raw_to_label,
                                  labels(r0=0, r15=1, r8=2))
    # A class that is left out may stand in a mask, it is ignored.
    assert np.flatnonzero(found.defined).tolist() == [*range(21), VOID]


def test_no_class_names():
    with pytest.raises(IncrementalConfigError, match='metainfo=dict'):
        class_list()


def test_presence_of_labels():
    found = class_list(metainfo=dict(classes=('cat', 'background', 'dog')))
    presence = np.zeros((3, 256), bool)
    presence[0, [0, VOID]] = True
    presence[1, [1, 2]] = True
    np.testing.assert_array_equal(
        found.to_labels(presence),
        [[False, True, False], [True, False, True], [False, False, False]])


def test_ids_that_no_class_has():
    found = class_list(metainfo=dict(classes=('background', 'cat')))
    presence = np.zeros((2, 256), bool)
    presence[:, [0, 1, VOID]] = True
    found.check_ids(presence, ['a.png', 'b.png'])
    presence[1, [2, 7]] = True
    with pytest.raises(
            IncrementalConfigError,
            match=r'b\.png holds the ids \[2, 7\].* 0-1 and 255 only'):
        found.check_ids(presence, ['a.png', 'b.png'])
