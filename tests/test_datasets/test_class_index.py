import multiprocessing
import os

import mmcv
import numpy as np
import pytest
import torch.distributed as dist
from mmengine.fileio import BaseStorageBackend, register_backend
from PIL import Image

import mmseg_incremental.datasets.class_index as class_index
from mmseg_incremental.datasets.class_index import class_presence
from mmseg_incremental.errors import IncrementalConfigError

# fork, so that what a test patches is patched in the children too
FORK = multiprocessing.get_context('fork')


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


@pytest.mark.parametrize('min_parallel', [1, 200])
@pytest.mark.parametrize('nproc', [None, 0, 1, 2])
def test_values(masks, nproc, min_parallel, monkeypatch):
    monkeypatch.setattr(class_index, 'MIN_PARALLEL', min_parallel)
    paths, arrays = masks
    presence = class_presence(paths, nproc=nproc)
    assert presence.dtype == bool
    np.testing.assert_array_equal(presence, expected_presence(arrays))


@pytest.mark.parametrize('mask', [
    np.zeros((1, 1), dtype=np.uint8),
    np.full((3, 4), 255, dtype=np.uint8),
    np.arange(256, dtype=np.uint8).reshape(16, 16),
    np.array([[1, 2], [2, 3]], dtype=np.uint8).T,
    np.array([[7, 255, 0]], dtype=np.uint16),
    np.array([[True, False]]),
])
def test_values_of_one_mask(mask, tmp_path):
    path = write_mask(tmp_path / 'mask.png', mask)
    presence = class_presence([path])
    np.testing.assert_array_equal(np.flatnonzero(presence[0]), np.unique(mask))


def test_no_masks():
    assert class_presence([]).shape == (0, 256)


def test_pool_only_where_it_pays(masks, monkeypatch):
    calls = []

    def track(func, tasks, nproc, **kwargs):
        calls.append(nproc)
        return [func(task) for task in tasks]

    monkeypatch.setattr(class_index, 'track_parallel_progress', track)
    class_presence(masks[0], nproc=3)
    assert calls == []
    monkeypatch.setattr(class_index, 'MIN_PARALLEL', 7)
    class_presence(masks[0][:7], nproc=3)
    assert calls == [3]
    # a daemonic process must not have children
    monkeypatch.setattr(class_index.current_process(), 'daemon', True)
    class_presence(masks[0][1:], nproc=3)
    assert calls == [3]


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


@pytest.mark.parametrize('min_parallel', [1, 200])
def test_unreadable_masks(masks, tmp_path, min_parallel, monkeypatch):
    monkeypatch.setattr(class_index, 'MIN_PARALLEL', min_parallel)
    paths, _ = masks
    for i in (4, 6):
        with open(paths[i], 'wb') as f:
            f.write(b'no image')
    with pytest.raises(
            IncrementalConfigError,
            match=r"2 of 8 masks cannot be read, .*4\.png' \(Unidentified"):
        class_presence(paths, nproc=2)
    assert cache_files(tmp_path / 'masks' / '.mmseg_incremental') == []


@pytest.mark.parametrize('mask, message', [
    (np.zeros((4, 5, 3), dtype=np.uint8), r'shape \(4, 5, 3\)'),
    (np.array([[3, 256]], dtype=np.uint16), 'ids go from 3 to 256'),
])
def test_masks_of_other_kinds(mask, message, tmp_path):
    path = write_mask(tmp_path / 'mask.png', mask)
    with pytest.raises(IncrementalConfigError, match=message):
        class_presence([path])


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


def run_together(target, *args, num_processes=2):
    """Run ``target(queue, i, *args)`` in several processes, collect what each
    puts into the queue."""
    queue = FORK.Queue()
    processes = [
        FORK.Process(target=target, args=(queue, i) + args, daemon=True)
        for i in range(num_processes)
    ]
    for process in processes:
        process.start()
    results = dict(queue.get(timeout=60) for _ in processes)
    for process in processes:
        process.join(60)
    return results


def scan_at_once(queue, i, start, paths):
    start.wait(60)
    queue.put((i, class_presence(paths, nproc=1)))


def test_processes_start_together(masks, tmp_path):
    paths, arrays = masks
    results = run_together(
        scan_at_once, FORK.Barrier(4), paths, num_processes=4)
    for presence in results.values():
        np.testing.assert_array_equal(presence, expected_presence(arrays))
    file, = cache_files(tmp_path / 'masks' / '.mmseg_incremental')
    assert file.endswith('.npz')


def scan_as_rank(queue, rank, store, paths):
    dist.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=2)
    decoded = []
    imfrombytes = mmcv.imfrombytes

    def counted(*args, **kwargs):
        decoded.append(1)
        return imfrombytes(*args, **kwargs)

    mmcv.imfrombytes = counted
    try:
        result = class_presence(paths, nproc=1)
    except IncrementalConfigError as e:
        result = str(e)
    queue.put((rank, (result, len(decoded))))
    dist.destroy_process_group()


def test_rank_0_scans_and_the_others_read(masks, tmp_path):
    paths, arrays = masks
    results = run_together(scan_as_rank, tmp_path / 'store', paths)
    assert [results[rank][1] for rank in range(2)] == [8, 0]
    for presence, _ in results.values():
        np.testing.assert_array_equal(presence, expected_presence(arrays))


def test_rank_without_cache_scans_itself(masks, user_cache, tmp_path):
    paths, arrays = masks
    (tmp_path / 'masks' / '.mmseg_incremental').touch()
    user_cache.parent.touch()
    results = run_together(scan_as_rank, tmp_path / 'store', paths)
    assert [results[rank][1] for rank in range(2)] == [8, 8]
    for presence, _ in results.values():
        np.testing.assert_array_equal(presence, expected_presence(arrays))


def test_error_on_rank_0_stops_every_rank(masks, tmp_path):
    paths, _ = masks
    with open(paths[4], 'wb') as f:
        f.write(b'no image')
    results = run_together(scan_as_rank, tmp_path / 'store', paths)
    for message, _ in results.values():
        assert '1 of 8 masks cannot be read' in message
