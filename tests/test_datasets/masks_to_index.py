"""Masks to index, and what tests of the index and of its cache share."""
import os

import mmcv
import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def user_cache(tmp_path, monkeypatch):
    """Keep the user's cache directory out of it."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'user_cache'))
    return tmp_path / 'user_cache' / 'mmseg_incremental'


def write_mask(path, mask):
    image = Image.fromarray(mask)
    if mask.dtype == np.uint8 and mask.ndim == 2:
        # colours that differ from the indices
        image.putpalette(list(range(255, -1, -1)) * 3)
    image.save(path)
    return str(path)


@pytest.fixture
def masks(tmp_path):
    """Eight palette masks in two folders, and their arrays."""
    rng = np.random.RandomState(0)
    arrays, paths = [], []
    for i in range(8):
        arrays.append(
            rng.choice([0, 3 * i, 200 + i, 255], (5 + i, 7)).astype(np.uint8))
        folder = tmp_path / 'masks' / 'ab'[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        paths.append(write_mask(folder / f'{i}.png', arrays[-1]))
    return paths, arrays


def expected_presence(arrays):
    presence = np.zeros((len(arrays), 256), dtype=bool)
    for row, array in zip(presence, arrays):
        row[np.unique(array)] = True
    return presence


def forbid_decoding(monkeypatch):

    def imfrombytes(*args, **kwargs):
        raise AssertionError('decoded')

    monkeypatch.setattr(mmcv, 'imfrombytes', imfrombytes)


def cache_files(folder):
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
