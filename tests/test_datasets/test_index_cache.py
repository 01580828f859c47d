import os
import runpy
from pathlib import Path

import numpy as np
import pytest
from mmengine.fileio import BaseStorageBackend, register_backend

from mmseg_incremental.datasets.class_index import class_presence
from mmseg_incremental.errors import IncrementalConfigError

_MASKS = runpy.run_path(str(Path(__file__).with_name('masks_to_index.py')))
cache_files = _MASKS['cache_files']
expected_presence = _MASKS['expected_presence']
forbid_decoding = _MASKS['forbid_decoding']
masks = _MASKS['masks']
user_cache = _MASKS['user_cache']
write_mask = _MASKS['write_mask']


def test_cache_hit_decodes_nothing(masks, tmp_path, monkeypatch):
    paths, arrays = masks
    class_presence(paths)
    assert len(cache_files(tmp_path / 'masks' / '.mmseg_incremental')) == 1
    forbid_decoding(monkeypatch)
    np.testing.assert_array_equal(
        class_presence(paths), expected_presence(arrays))
    with pytest.raises(IncrementalConfigError, match='decoded'):
        class_presence(paths[:4])


def test_cache_is_packed(masks, tmp_path):
    class_presence(masks[0], cache_dir=str(tmp_path / 'cache'))
    file, = (tmp_path / 'cache').iterdir()
    with np.load(file, allow_pickle=False) as cache:
        assert cache['packed'].nbytes == 8 * 32
    assert cache_files(tmp_path / 'masks' / '.mmseg_incremental') == []


def test_lists_are_cached_separately(masks, tmp_path, monkeypatch):
    paths, arrays = masks
    class_presence(paths[:6])
    class_presence(paths[5:])
    class_presence(paths[::-1])
    forbid_decoding(monkeypatch)
    expected = expected_presence(arrays)
    np.testing.assert_array_equal(class_presence(paths[:6]), expected[:6])
    np.testing.assert_array_equal(class_presence(paths[5:]), expected[5:])
    np.testing.assert_array_equal(class_presence(paths[::-1]), expected[::-1])


def test_data_sets_of_equal_names_share_a_cache_dir(tmp_path):
    for name, value in (('x', 1), ('y', 2)):
        (tmp_path / name).mkdir()
        path = write_mask(tmp_path / name / 'm.png',
                          np.full((2, 2), value, dtype=np.uint8))
        os.utime(path, ns=(1, 1))
        presence = class_presence([path], cache_dir=str(tmp_path / 'cache'))
        assert np.flatnonzero(presence[0]).tolist() == [value]
    assert len(cache_files(tmp_path / 'cache')) == 2


def test_cache_moves_with_the_data(masks, tmp_path, monkeypatch):
    paths, arrays = masks
    class_presence(paths)
    (tmp_path / 'masks').rename(tmp_path / 'moved')
    forbid_decoding(monkeypatch)
    moved = [path.replace('masks', 'moved') for path in paths]
    np.testing.assert_array_equal(
        class_presence(moved), expected_presence(arrays))


def test_changed_mask_is_noticed(masks):
    paths, arrays = masks
    class_presence(paths)
    stat = os.stat(paths[3])
    arrays[3] = np.full((5, 5), 77, dtype=np.uint8)
    write_mask(paths[3], arrays[3])
    os.utime(paths[3], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert os.stat(paths[3]).st_size != stat.st_size
    np.testing.assert_array_equal(
        class_presence(paths), expected_presence(arrays))


def test_changed_mask_of_equal_size_is_noticed(tmp_path):
    path = write_mask(tmp_path / 'm.png', np.full((2, 2), 1, dtype=np.uint8))
    class_presence([path])
    size, mtime = os.stat(path).st_size, os.stat(path).st_mtime_ns
    write_mask(path, np.full((2, 2), 2, dtype=np.uint8))
    os.utime(path, ns=(mtime, mtime + 1000))
    assert os.stat(path).st_size == size
    assert np.flatnonzero(class_presence([path])[0]).tolist() == [2]


def test_added_and_removed_masks_are_noticed(masks, tmp_path):
    paths, arrays = masks
    class_presence(paths)
    added = np.full((2, 2), 99, dtype=np.uint8)
    path = write_mask(tmp_path / 'masks' / 'a' / 'added.png', added)
    np.testing.assert_array_equal(
        class_presence(paths + [path]), expected_presence(arrays + [added]))
    np.testing.assert_array_equal(
        class_presence(paths[1:]), expected_presence(arrays[1:]))


def test_read_only_data_falls_back_to_user_cache(masks, user_cache, tmp_path,
                                                 monkeypatch):
    paths, arrays = masks
    # a file where the folder should be stops root, too
    (tmp_path / 'masks' / '.mmseg_incremental').touch()
    class_presence(paths)
    assert len(cache_files(user_cache)) == 1
    forbid_decoding(monkeypatch)
    np.testing.assert_array_equal(
        class_presence(paths), expected_presence(arrays))


def test_nowhere_to_cache_still_works(masks, user_cache, tmp_path):
    paths, arrays = masks
    (tmp_path / 'masks' / '.mmseg_incremental').touch()
    user_cache.parent.touch()
    for _ in range(2):
        np.testing.assert_array_equal(
            class_presence(paths), expected_presence(arrays))


def test_failed_write_leaves_nothing(masks, tmp_path, monkeypatch):

    def replace(*args):
        raise OSError('disk full')

    monkeypatch.setattr(os, 'replace', replace)
    class_presence(masks[0])
    assert cache_files(tmp_path / 'masks' / '.mmseg_incremental') == []


def unknown_compression(content):
    method = content.index(b'PK\x01\x02') + 10
    return content[:method] + b'\x63\0' + content[method + 2:]


@pytest.mark.parametrize('damage', [
    lambda content: b'',
    lambda content: b'no zip file at all',
    lambda content: content[:len(content) // 2],
    lambda content: content[:-1],
    lambda content: bytes(len(content)),
    unknown_compression,
])
def test_corrupt_cache_is_scanned_again(masks, tmp_path, damage, monkeypatch):
    paths, arrays = masks
    class_presence(paths)
    file, = (tmp_path / 'masks' / '.mmseg_incremental').iterdir()
    file.write_bytes(damage(file.read_bytes()))
    np.testing.assert_array_equal(
        class_presence(paths), expected_presence(arrays))
    forbid_decoding(monkeypatch)
    np.testing.assert_array_equal(
        class_presence(paths), expected_presence(arrays))


def test_cache_of_wrong_length_is_scanned_again(masks, tmp_path):
    paths, arrays = masks
    class_presence(paths)
    file, = (tmp_path / 'masks' / '.mmseg_incremental').iterdir()
    with np.load(file) as cache:
        np.savez(file, key=cache['key'], packed=cache['packed'][:3])
    np.testing.assert_array_equal(
        class_presence(paths), expected_presence(arrays))


def test_missing_masks(masks):
    paths, _ = masks
    os.remove(paths[2])
    os.remove(paths[5])
    with pytest.raises(
            IncrementalConfigError,
            match=r'2 of 8 masks do not exist, the first is .*2\.png'):
        class_presence(paths)


@register_backend('class_index_test', force=True)
class FolderBackend(BaseStorageBackend):
    """A remote storage: its names are no local paths."""

    def __init__(self, root):
        self.root = root

    def get(self, filepath):
        with open(os.path.join(self.root, os.path.basename(filepath)),
                  'rb') as f:
            return f.read()

    def get_text(self, filepath, encoding='utf-8'):
        raise NotImplementedError


def test_remote_masks(user_cache, tmp_path, monkeypatch):
    mask = np.array([[0, 9]], dtype=np.uint8)
    write_mask(tmp_path / 'm.png', mask)
    backend_args = dict(backend='class_index_test', root=str(tmp_path))
    paths = ['store://bucket/m.png']
    class_presence(paths, backend_args=backend_args)
    assert len(cache_files(user_cache)) == 1
    forbid_decoding(monkeypatch)
    presence = class_presence(paths, backend_args=backend_args)
    assert np.flatnonzero(presence[0]).tolist() == [0, 9]


def test_local_backend_args_are_local(masks, tmp_path):
    class_presence(masks[0], backend_args=dict(backend='local'))
    assert len(cache_files(tmp_path / 'masks' / '.mmseg_incremental')) == 1
