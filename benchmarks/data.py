"""Time what a run does with masks and photos before it trains on them."""
import os
import os.path as osp
import tempfile
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

import cv2
import mmcv
import numpy as np
from common import (alternate, build_parser, describe_machine, markdown_table,
                    peak_memories, ratio_cells)
from mmengine.logging import MMLogger
from mmseg.datasets.transforms import LoadAnnotations

from mmseg_incremental.datasets.class_index import class_presence
from mmseg_incremental.datasets.transforms.label_table import (
    LoadAnnotationsByTable, build_label_table)

# Old classes to background, new ones to the end, as at a later step.
LABEL_MAP = {
    label: max(label - 5, 0) if label < 21 else 255
    for label in range(256)
}
TABLE = 'table, mapping alone'
# Calls that are timed together, where one is over too soon.
IN_A_ROW = {TABLE: 20}


def decode(path: str) -> int:
    """Read a mask as ``LoadAnnotations`` does and look at nothing."""
    content = Path(path).read_bytes()
    return mmcv.imfrombytes(content, flag='unchanged', backend='pillow').size


def decode_all(paths: List[str]) -> None:
    """A bare loop on all cores."""
    with get_context('fork').Pool(os.cpu_count()) as pool:
        for _ in pool.imap_unordered(decode, paths, chunksize=32):
            pass


def scan_all(paths: List[str]) -> None:
    """The first start of a run, with nothing cached."""
    with tempfile.TemporaryDirectory() as folder:
        class_presence(paths, cache_dir=folder)


def load(transform: Any, path: str) -> None:
    """Load a mask and map its labels."""
    transform(
        dict(
            seg_map_path=path,
            seg_fields=[],
            reduce_zero_label=False,
            label_map=LABEL_MAP))


def map_by_lambda(mask: np.ndarray, path: str) -> None:
    """The approach of the published codes: a Python function a pixel."""
    np.vectorize(lambda label: LABEL_MAP.get(label, 255))(mask)


def map_by_table(mask: np.ndarray, table: np.ndarray) -> None:
    """What the transform of this package does with a decoded mask.

    In a row, so that the mask is in the caches as one that has just been
    decoded is.
    """
    for _ in range(IN_A_ROW[TABLE]):
        cv2.LUT(mask, table)


def index_sides(paths: List[str], folder: str) -> Dict[str, Callable]:
    """What is timed with many masks.

    Args:
        paths (list[str]): The masks.
        folder (str): Where their index is.

    Returns:
        dict[str, Callable]: By name, that to compare with first.
    """
    class_presence(paths, cache_dir=folder)
    return {
        'decoding every mask on all cores':
        partial(decode_all, paths),
        'class index, first start':
        partial(scan_all, paths),
        'class index, second start':
        partial(class_presence, paths, cache_dir=folder)
    }


def mapping_sides(folder: str) -> Dict[str, Callable]:
    """What is timed with one mask of 512 x 512 pixels, as above."""
    blocks = np.random.default_rng(0).integers(0, 21, (64, 64), np.uint8)
    mask = blocks.repeat(8, 0).repeat(8, 1)
    path = osp.join(folder, 'mask.png')
    if not osp.isfile(path):
        # Once: other processes may be reading it.
        cv2.imwrite(path, mask)
    stock, table = LoadAnnotations(), LoadAnnotationsByTable()
    return {
        'decoding alone': partial(decode, path),
        'decoding and table': partial(load, table, path),
        'decoding and stock `label_map`': partial(load, stock, path),
        # The dataset makes the table, once a step.
        TABLE: partial(map_by_table, mask, build_label_table(LABEL_MAP)),
        'published approach, mapping alone': partial(map_by_lambda, mask, path)
    }


def photo_sides() -> Dict[str, Callable]:
    """Decoders of a photo that are there with the dependencies.

    Its size is the most frequent one of VOC; it takes 2.7 bits a pixel, as
    photos of VOC do.
    """
    noise = np.random.default_rng(0)
    coarse = noise.integers(0, 256, (24, 32, 3), np.uint8)
    photo = cv2.resize(coarse, (500, 375)).astype(np.int16)
    photo += noise.integers(-4, 5, photo.shape, np.int16)
    content = cv2.imencode('.jpg', photo.clip(0, 255).astype(np.uint8))[1]
    return {
        f'decoding by {backend}':
        partial(mmcv.imfrombytes, content.tobytes(), backend=backend)
        for backend in ('cv2', 'pillow')
    }


def build_side(side: str, sides: Callable, *args: Any) -> Callable:
    """One of them, in a process of its own."""
    return sides(*args)[side]


def compare(what: str, unit: str, repeats: int, sides: Callable,
            small: Sequence[Any], args: Sequence[Any]) -> List[List[str]]:
    """Time the sides of a comparison and measure their memory.

    Args:
        what (str): First column of the table.
        unit (str): 's' or 'ms'.
        repeats (int): Timed calls of each side.
        sides (Callable): Makes the sides of ``args``.
        small (Sequence): Its arguments for little work.
        args (Sequence): Its arguments.

    Returns:
        list[list[str]]: Rows of the table.
    """
    functions = sides(*args)
    times = {
        name: values / IN_A_ROW.get(name, 1)
        for name, values in alternate(functions, repeats).items()
    }
    bare = times[next(iter(functions))]
    scale = dict(s=1000, ms=1)[unit]
    peaks = peak_memories(
        build_side,
        [((name, sides, *small), (name, sides, *args)) for name in functions],
        on_host=True)
    return [[
        what, name, f'{np.median(values) / scale:.3f} {unit}',
        *ratio_cells(values, bare), f'{peak:.1f}'
    ] for (name, values), peak in zip(times.items(), peaks)]


def main() -> None:
    """Run the benchmark and print a table for benchmarks/README.md."""
    parser = build_parser(__doc__)
    parser.add_argument(
        'masks',
        help='folder with masks, such as those of '
        'VOC 2012 with SBD')
    args = parser.parse_args()
    paths = sorted(str(path) for path in Path(args.masks).glob('*.png'))
    if not paths:
        parser.error(f'{args.masks} holds no file *.png')
    # As in the worker processes of a run.
    cv2.setNumThreads(0)
    MMLogger.get_instance('mmengine', log_level='ERROR')
    MMLogger.get_current_instance().setLevel('ERROR')
    with tempfile.TemporaryDirectory() as folder:
        rows = compare(f'{len(paths):,} masks', 's', args.repeats, index_sides,
                       (paths[:32], folder), (paths, folder))
        rows += compare('mask of 512 x 512', 'ms', max(args.repeats, 51),
                        mapping_sides, (folder, ), (folder, ))
        rows += compare('photo of 500 x 375', 'ms', max(args.repeats, 51),
                        photo_sides, (), ())
    print(
        markdown_table(('work', 'side', 'time', 'to the first side',
                        'quartiles', 'peak MiB'), rows))
    print(f'\n- Medians of {args.repeats}')
    print(describe_machine())


if __name__ == '__main__':
    main()
