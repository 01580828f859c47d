import runpy
from pathlib import Path
from typing import Optional

import numpy as np
import pytest

from mmseg_incremental.errors import IncrementalConfigError

_SMALL = runpy.run_path(str(Path(__file__).with_name('small_datasets.py')))
CLASSES = _SMALL['CLASSES']
build = _SMALL['build']
outputs = _SMALL['outputs']
random_masks = _SMALL['random_masks']
write_ade = _SMALL['write_ade']
write_cityscapes = _SMALL['write_cityscapes']
write_own = _SMALL['write_own']
write_voc = _SMALL['write_voc']


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
