import runpy
import sys
from pathlib import Path

import mmcv
import numpy as np
import pytest

import mmseg_incremental.datasets.class_index as class_index
from mmseg_incremental.datasets.class_index import class_presence
from mmseg_incremental.errors import IncrementalConfigError

_TOGETHER = runpy.run_path(str(Path(__file__).parents[1] / 'together.py'))
FORK = _TOGETHER['FORK']
run_together, run_as_ranks = (
    _TOGETHER[name] for name in ('run_together', 'run_as_ranks'))
_MASKS = runpy.run_path(str(Path(__file__).with_name('masks_to_index.py')))
cache_files = _MASKS['cache_files']
expected_presence = _MASKS['expected_presence']
masks = _MASKS['masks']
user_cache = _MASKS['user_cache']
write_mask = _MASKS['write_mask']


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

    def scan_in_pool(scan, paths, nproc):
        calls.append(nproc)
        return [scan(path) for path in paths]

    monkeypatch.setattr(class_index, '_scan_in_pool', scan_in_pool)
    class_presence(masks[0], nproc=3)
    assert calls == []
    monkeypatch.setattr(class_index, 'MIN_PARALLEL', 7)
    class_presence(masks[0][:7], nproc=3)
    assert calls == [3]
    # a daemonic process must not have children
    monkeypatch.setattr(class_index.current_process(), 'daemon', True)
    class_presence(masks[0][1:], nproc=3)
    assert calls == [3]


@pytest.mark.parametrize('is_terminal', [False, True])
def test_progress_bar_in_a_terminal_alone(is_terminal, masks, monkeypatch,
                                          capsys):
    monkeypatch.setattr(class_index, 'MIN_PARALLEL', 1)
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: is_terminal)
    paths, arrays = masks
    presence = class_presence(paths, nproc=2)
    np.testing.assert_array_equal(presence, expected_presence(arrays))
    assert ('8/8' in capsys.readouterr().err) == is_terminal


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


def scan_as_rank(rank, paths):
    """What the scan gives or complains of, and how many masks it decoded."""
    decoded = []
    imfrombytes = mmcv.imfrombytes

    def counted(*args, **kwargs):
        decoded.append(1)
        return imfrombytes(*args, **kwargs)

    mmcv.imfrombytes = counted
    try:
        return class_presence(paths, nproc=1), len(decoded)
    except IncrementalConfigError as e:
        return str(e), len(decoded)


def test_rank_0_scans_and_the_others_read(masks, tmp_path):
    paths, arrays = masks
    results = run_as_ranks(scan_as_rank, tmp_path / 'store', paths)
    assert [count for _, count in results] == [8, 0]
    for presence, _ in results:
        np.testing.assert_array_equal(presence, expected_presence(arrays))


def test_rank_without_cache_scans_itself(masks, user_cache, tmp_path):
    paths, arrays = masks
    (tmp_path / 'masks' / '.mmseg_incremental').touch()
    user_cache.parent.touch()
    results = run_as_ranks(scan_as_rank, tmp_path / 'store', paths)
    assert [count for _, count in results] == [8, 8]
    for presence, _ in results:
        np.testing.assert_array_equal(presence, expected_presence(arrays))


def test_error_on_rank_0_stops_every_rank(masks, tmp_path):
    paths, _ = masks
    with open(paths[4], 'wb') as f:
        f.write(b'no image')
    results = run_as_ranks(scan_as_rank, tmp_path / 'store', paths)
    for message, _ in results:
        assert '1 of 8 masks cannot be read' in message
