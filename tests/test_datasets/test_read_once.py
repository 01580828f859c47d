import runpy
from pathlib import Path

import numpy as np
import pytest

from mmseg_incremental.datasets import incremental
from mmseg_incremental.datasets.read_once import once, read_once

_SMALL = runpy.run_path(str(Path(__file__).with_name('small_datasets.py')))
build, write_own = _SMALL['build'], _SMALL['write_own']


@pytest.fixture
def calls(monkeypatch):
    """What is read of the files, in order."""
    calls = []
    for name in ('read_source', 'class_presence'):
        monkeypatch.setattr(
            incremental,
            name,
            lambda *args, read=getattr(incremental, name), name=name, **kwargs:
            (calls.append(name), read(*args, **kwargs))[1])
    return calls


@pytest.fixture
def config(tmp_path):
    masks = [np.full((6, 8), i % 4, np.uint8) for i in range(12)]
    return write_own(tmp_path, masks)


def images(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def test_steps_share_what_is_read(config, calls):
    expected = [images(build(config, step)) for step in range(3)]
    assert calls == 3 * ['read_source', 'class_presence']
    calls.clear()
    with read_once():
        shared = [images(build(config, step)) for step in range(3)]
    assert calls == ['read_source', 'class_presence']
    for infos, others in zip(shared, expected):
        assert [
            (i['img_path'], i['cat_ids'], i['label_map']) for i in infos
        ] == [(i['img_path'], i['cat_ids'], i['label_map']) for i in others]


def test_other_data_is_read(config, calls):
    with read_once():
        build(config)
        build(
            dict(
                config, data_prefix=dict(img_path='img', seg_map_path='ann/')))
        assert calls == 2 * ['read_source', 'class_presence']
        # Another name of the background makes another list of classes.
        build(config, background='void')
        assert calls[4:] == ['class_presence']


def test_nothing_is_kept(config, calls, tmp_path):
    with pytest.raises(ZeroDivisionError), read_once():
        assert len(build(config)) == 3
        raise ZeroDivisionError
    for folder, suffix in (('img', 'jpg'), ('ann', 'png')):
        (tmp_path / folder / f'01.{suffix}').rename(tmp_path / folder /
                                                    f'0a.{suffix}')
    with read_once():
        paths = {Path(i['img_path']).name for i in images(build(config))}
    assert paths == {'0a.jpg', '05.jpg', '09.jpg'}


def test_runs_within_runs():
    with read_once():
        assert once('key', lambda: 1) == once('key', lambda: 2) == 1
        with read_once():
            assert once('key', lambda: 3) == 3
        assert once('key', lambda: 4) == 1
    assert once('key', lambda: 5) == 5
