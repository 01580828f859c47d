import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import HOOKS
from mmseg.structures import SegDataSample
from PIL import Image

from mmseg_incremental.errors import IncrementalConfigError


def sample(name: str, pred: list) -> SegDataSample:
    data_sample = SegDataSample(metainfo=dict(img_path=f'folder/{name}.jpg'))
    data_sample.pred_sem_seg = PixelData(data=torch.tensor([pred]))
    return data_sample


@pytest.mark.parametrize('method', ['after_val_iter', 'after_test_iter'])
def test_saves_dataset_labels(tmp_path, method):
    hook = HOOKS.build(
        dict(
            type='PanelHook',
            image_ids=['a.b', 'c'],
            labels=[0, 7, 3],
            out_dir=str(tmp_path / 'panel')))
    outputs = [
        sample('a.b', [[0, 1, 2], [2, 2, 0]]),
        sample('other', [[0]]),
        sample('c', [[1, 2]])
    ]
    getattr(hook, method)(None, 0, None, outputs)
    assert sorted(path.name for path in (tmp_path / 'panel').iterdir()) == [
        'a.b.png', 'c.png'
    ]
    with Image.open(tmp_path / 'panel' / 'a.b.png') as image:
        assert image.mode == 'L'
        np.testing.assert_array_equal(image, [[0, 7, 3], [3, 3, 0]])
    with Image.open(tmp_path / 'panel' / 'c.png') as image:
        np.testing.assert_array_equal(image, [[7, 3]])


@pytest.mark.parametrize('labels', [[], [0, 256], [-1]])
def test_labels_that_no_mask_holds(labels):
    with pytest.raises(IncrementalConfigError, match='from 0 to 255'):
        HOOKS.build(
            dict(type='PanelHook', image_ids=[], labels=labels, out_dir='x'))
