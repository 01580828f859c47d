"""Which raw ids each mask holds: one parallel scan, cached."""
import os
import sys
from functools import partial
from multiprocessing import Pool, current_process
from typing import Callable, List, Optional, Sequence, Union

import mmcv
import numpy as np
from mmengine import fileio
from mmengine.dist import barrier, is_main_process
from mmengine.utils import track_parallel_progress

from mmseg_incremental.errors import IncrementalConfigError
from .index_cache import NUM_IDS, IndexCache

# below this a pool takes longer to start than the scan takes
MIN_PARALLEL = 200
# so few that no process is left with much when the others are done
CHUNK_SIZE = 32


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
    cache = IndexCache.from_masks(paths, cache_dir, backend_args)
    if not is_main_process():
        barrier()
        return _load_or_scan(paths, cache, nproc, backend_args)
    try:
        return _load_or_scan(paths, cache, nproc, backend_args)
    finally:
        # reached by an error too, or the other ranks would wait for ever
        barrier()


def _load_or_scan(paths: List[str], cache: IndexCache, nproc: Optional[int],
                  backend_args: Optional[dict]) -> np.ndarray:
    packed = cache.load(len(paths))
    if packed is None:
        packed = _scan(paths, nproc, backend_args)
        cache.save(packed)
    return np.unpackbits(packed, axis=1).view(bool)


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
        results = _scan_in_pool(scan, paths, nproc)
    else:
        results = [scan(path) for path in paths]
    unread = [i for i, result in enumerate(results) if isinstance(result, str)]
    if unread:
        raise IncrementalConfigError(
            f'{len(unread)} of {len(paths)} masks cannot be read, the first '
            f'is {paths[unread[0]]!r} ({results[unread[0]]}): replace them by '
            'images with one class id from 0 to 255 a pixel.')
    return np.frombuffer(b''.join(results), np.uint8).reshape(len(paths), -1)


def _scan_in_pool(scan: Callable[[str], Union[bytes, str]], paths: List[str],
                  nproc: int) -> List[Union[bytes, str]]:
    """What a scan gives of every mask, in their order."""
    if sys.stderr.isatty():
        return track_parallel_progress(
            scan, paths, nproc, chunksize=CHUNK_SIZE, file=sys.stderr)
    # In a log file every update of the bar would be a line; those that nobody
    # sees take time from the scan.
    with Pool(nproc) as pool:
        return pool.map(scan, paths, chunksize=CHUNK_SIZE)


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
    return np.packbits(_present(mask)).tobytes()


def _present(mask: np.ndarray) -> np.ndarray:
    """Which ids a mask holds, bool of shape (256, )."""
    values = np.ascontiguousarray(mask, dtype=np.uint8).ravel()
    # Pixels come in runs: of words of eight, only the first of equal ones is
    # looked at. What is left holds few ids, so that comparing it as a whole
    # with each of them is faster than a look-up a pixel.
    num_words = values.size // 8
    words = values[:8 * num_words].view(np.uint64)
    distinct = words[1:][words[1:] != words[:-1]]
    rest = np.concatenate((words[:1].view(np.uint8), distinct.view(np.uint8),
                           values[8 * num_words:]))
    present = np.zeros(NUM_IDS, dtype=bool)
    is_known = np.zeros(rest.size, dtype=bool)
    while not is_known.all():
        value = rest[is_known.argmin()]
        present[value] = True
        is_known |= rest == value
    return present
