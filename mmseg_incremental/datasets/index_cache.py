"""Where the class index of a list of masks is kept, and until when."""
import hashlib
import os
import os.path as osp
import uuid
from logging import WARNING
from typing import List, NamedTuple, Optional, Sequence, Type

import numpy as np
from mmengine import fileio
from mmengine.logging import print_log

from mmseg_incremental.errors import IncrementalConfigError

NUM_IDS = 256
"""Number of the raw ids that a mask can hold."""


class IndexCache(NamedTuple):
    """Where an index may be cached, best place first, and what it is of.

    Attributes:
        files (List[str]): The files that may hold it.
        key (str): Digest of the masks' names and state, without which a file
            does not count.
    """
    files: List[str]
    key: str

    @classmethod
    def from_masks(cls: Type['IndexCache'],
                   paths: Sequence[str],
                   cache_dir: Optional[str] = None,
                   backend_args: Optional[dict] = None) -> 'IndexCache':
        """Name the cache files after the masks, key them by the masks' state.

        Args:
            paths (Sequence[str]): The masks.
            cache_dir (str, optional): A folder to cache in instead of the one
                beside the masks. Defaults to None.
            backend_args (dict, optional): Arguments of the file backend.
                Masks that are not on a local disk have no state. Defaults to
                None.

        Returns:
            IndexCache: The places and the key.

        Raises:
            IncrementalConfigError: If masks are missing.
        """
        user_dir = osp.join(
            os.environ.get('XDG_CACHE_HOME') or osp.expanduser('~/.cache'),
            'mmseg_incremental')
        backend = fileio.get_file_backend(paths[0], backend_args=backend_args)
        if not isinstance(backend, fileio.LocalBackend):
            folders = [folder for folder in (cache_dir, user_dir) if folder]
            names = '\n'.join(paths)
            files = [osp.join(folder, _file_name(names)) for folder in folders]
            return cls(files, _digest(names))
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
        return cls(files, _digest(f'{names}\n{state}'))

    def load(self, num_masks: int) -> Optional[np.ndarray]:
        """Read the cached index.

        Args:
            num_masks (int): The number of masks.

        Returns:
            np.ndarray, optional: uint8, shape (num_masks, 32): one bit a raw
            id. None where there is no valid index.
        """
        for file in self.files:
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
            if key == self.key and packed.shape == (num_masks, NUM_IDS // 8):
                return packed
        return None

    def save(self, packed: np.ndarray) -> None:
        """Write the index to the first place that takes it.

        Args:
            packed (np.ndarray): uint8, shape (num_masks, 32): one bit a raw
                id.
        """
        for file in self.files:
            # written aside and moved, so that no other process reads half
            # a file
            temp = f'{file}.{uuid.uuid4().hex}.tmp'
            try:
                os.makedirs(osp.dirname(file), exist_ok=True)
                try:
                    with open(temp, 'xb') as f:
                        np.savez(f, key=np.array(self.key), packed=packed)
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
            f'none of {self.files} can be written',
            logger='current',
            level=WARNING)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()


def _file_name(names: str) -> str:
    return f'class_index_{_digest(names)[:16]}.npz'


def _stat(paths: Sequence[str]) -> str:
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
