"""Which raw ids each mask holds: one parallel scan, cached."""
import hashlib
import os
import os.path as osp
import sys
import uuid
from functools import partial
from logging import WARNING
from multiprocessing import current_process
from typing import List, NamedTuple, Optional, Sequence, Union

import mmcv
import numpy as np
from mmengine import fileio
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmengine.utils import track_parallel_progress

from mmseg_incremental.errors import IncrementalConfigError

NUM_IDS = 256
# below this a pool takes longer to start than the scan takes
MIN_PARALLEL = 200


class _Index(NamedTuple):
    """Where an index may be cached, best place first, and what it is of."""
    files: List[str]
    key: str


def class_presence(mask_paths: Sequence[str],
                   cache_dir: Optional[str] = None,
                   nproc: Optional[int] = None,
                   backend_args: Optional[dict] = None) -> np.ndarray:
    """Find out which raw pixel values every mask holds.

    The masks are scanned once, in parallel. The result is cached in
    ``.mmseg_incremental`` inside the folder that all masks share or, where
    that cannot be written, in ``$XDG_CACHE_HOME/mmseg_incremental`` (default
    ``~/.cache``). A mask that is added, removed, resized or modified is
    noticed and leads to a new scan. Lists of different masks, such as train
    and val, are cached separately.

    In distributed training rank 0 scans while the others wait, so every rank
    must call it.

    Args:
        mask_paths (Sequence[str]): Masks with one raw id a pixel, of which
            palette images are read as indices.
        cache_dir (str, optional): A folder to cache in instead of the one
            beside the masks. Defaults to None.
        nproc (int, optional): Number of processes. Defaults to None, one a
            CPU up to 16.
        backend_args (dict, optional): Arguments of the file backend, as in
            ``LoadAnnotations``. Masks that are not on a local disk are known
            by their path alone: delete the cache when they change. Defaults
            to None.

    Returns:
        np.ndarray: Bool, shape (num_images, 256).

    Raises:
        IncrementalConfigError: If masks are missing or cannot be read.
    """
    paths = [os.fspath(path) for path in mask_paths]
    if not paths:
        return np.zeros((0, NUM_IDS), dtype=bool)
    index = _make_index(paths, cache_dir, backend_args)
    if not is_main_process():
        barrier()
        return _load_or_scan(paths, index, nproc, backend_args)
    try:
        return _load_or_scan(paths, index, nproc, backend_args)
    finally:
        # reached by an error too, or the other ranks would wait for ever
        barrier()


def _make_index(paths: List[str], cache_dir: Optional[str],
                backend_args: Optional[dict]) -> _Index:
    """Name the cache files after the masks, key them by the masks' state."""
    user_dir = osp.join(
        os.environ.get('XDG_CACHE_HOME') or osp.expanduser('~/.cache'),
        'mmseg_incremental')
    backend = fileio.get_file_backend(paths[0], backend_args=backend_args)
    if not isinstance(backend, fileio.LocalBackend):
        folders = [folder for folder in (cache_dir, user_dir) if folder]
        names = '\n'.join(paths)
        files = [osp.join(folder, _file_name(names)) for folder in folders]
        return _Index(files, _digest(names))
    state = _stat(paths)
    paths = [osp.abspath(path) for path in paths]
    root = osp.commonpath({osp.dirname(path) for path in paths})
    names = '\n'.join(path[len(root):] for path in paths)
    # only beside the masks the root is left out, so that the cache stays
    # valid when the data set moves as a whole
    beside = osp.join(root, '.mmseg_incremental', _file_name(names))
    elsewhere = _file_name(f'{root}\n{names}')
    files = [
        osp.join(cache_dir, elsewhere) if cache_dir else beside,
        osp.join(user_dir, elsewhere)
    ]
    return _Index(files, _digest(f'{names}\n{state}'))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()


def _file_name(names: str) -> str:
    return f'class_index_{_digest(names)[:16]}.npz'


def _stat(paths: List[str]) -> str:
    """Size and modification time of every mask, as text.

    Raises:
        IncrementalConfigError: If masks are missing.
    """
    state, missing = [], []
    for path in paths:
        try:
            stat = os.stat(path)
            state.append(f'{stat.st_size} {stat.st_mtime_ns}')
        except OSError:
            missing.append(path)
    if missing:
        raise IncrementalConfigError(
            f'{len(missing)} of {len(paths)} masks do not exist, the first '
            f'is {missing[0]!r}: correct data_root, data_prefix or the '
            'annotation file, or add the masks.')
    return '\n'.join(state)


def _load_or_scan(paths: List[str], index: _Index, nproc: Optional[int],
                  backend_args: Optional[dict]) -> np.ndarray:
    packed = _load(index, len(paths))
    if packed is None:
        packed = _scan(paths, nproc, backend_args)
        _save(index, packed)
    return np.unpackbits(packed, axis=1).astype(bool)


def _load(index: _Index, num_masks: int) -> Optional[np.ndarray]:
    """The cached index, None where there is no valid one."""
    for file in index.files:
        if not osp.isfile(file):
            continue
        try:
            with np.load(file, allow_pickle=False) as cache:
                key, packed = str(cache['key']), cache['packed']
        except Exception as e:  # numpy and zipfile raise anything
            print_log(
                f'class index: {file} is unreadable ({e}), scanning again',
                logger='current',
                level=WARNING)
            continue
        if key == index.key and packed.shape == (num_masks, NUM_IDS // 8):
            return packed
    return None


def _save(index: _Index, packed: np.ndarray) -> None:
    """Write the index to the first place that takes it."""
    for file in index.files:
        # written aside and moved, so that no other process reads half a file
        temp = f'{file}.{uuid.uuid4().hex}.tmp'
        try:
            os.makedirs(osp.dirname(file), exist_ok=True)
            try:
                with open(temp, 'xb') as f:
                    np.savez(f, key=np.array(index.key), packed=packed)
                os.replace(temp, file)
            finally:
                if osp.exists(temp):
                    os.remove(temp)
        except OSError:
            continue
        print_log(
            f'class index: {len(packed)} masks scanned, cached in {file}',
            logger='current')
        return
    print_log(
        f'class index: {len(packed)} masks scanned, but not cached, since '
        f'none of {index.files} can be written',
        logger='current',
        level=WARNING)


def _scan(paths: List[str], nproc: Optional[int],
          backend_args: Optional[dict]) -> np.ndarray:
    """Scan all masks.

    Returns:
        np.ndarray: uint8, shape (num_images, 32): one bit a raw id.

    Raises:
        IncrementalConfigError: If masks cannot be read.
    """
    if nproc is None:
        nproc = min(os.cpu_count() or 1, 16)
    # a daemonic process, such as a dataloader's worker, must not have children
    parallel = nproc > 1 and not current_process().daemon
    scan = partial(_scan_mask, backend_args=backend_args)
    if parallel and len(paths) >= MIN_PARALLEL:
        with open(os.devnull, 'w') as nowhere:
            # in a log file every update of the bar would be a line
            file = sys.stderr if sys.stderr.isatty() else nowhere
            results = track_parallel_progress(
                scan, paths, nproc, chunksize=32, file=file)
    else:
        results = [scan(path) for path in paths]
    unread = [i for i, result in enumerate(results) if isinstance(result, str)]
    if unread:
        raise IncrementalConfigError(
            f'{len(unread)} of {len(paths)} masks cannot be read, the first '
            f'is {paths[unread[0]]!r} ({results[unread[0]]}): replace them by '
            'images with one class id from 0 to 255 a pixel.')
    return np.frombuffer(b''.join(results), np.uint8).reshape(len(paths), -1)


def _scan_mask(path: str, backend_args: Optional[dict]) -> Union[bytes, str]:
    """One bit a raw id of one mask, or why it cannot be read."""
    try:
        # decoded as in LoadAnnotations
        mask = mmcv.imfrombytes(
            fileio.get(path, backend_args=backend_args),
            flag='unchanged',
            backend='pillow').squeeze()
    except Exception as e:  # backends and decoders raise anything
        return f'{type(e).__name__}: {e}'
    if mask.ndim > 2:
        return f'it has the shape {mask.shape}'
    if mask.dtype != np.uint8 and (mask.min() < 0 or mask.max() >= NUM_IDS):
        return f'its ids go from {mask.min()} to {mask.max()}'
    values = mask.astype(np.uint8).ravel()
    present = np.zeros(NUM_IDS, dtype=bool)
    # one look-up a run of equal pixels is four times as fast as one a pixel
    present[values[:1]] = True
    present[values[1:][values[1:] != values[:-1]]] = True
    return np.packbits(present).tobytes()
