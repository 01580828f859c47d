"""Time what a run does with masks: the class index and the label mapping."""
import os
import os.path as osp
import tempfile
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, List

import cv2
import mmcv
import numpy as np
from common import alternate, build_parser, describe_machine, markdown_table
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


def map_by_table(mask: np.ndarray, path: str) -> None:
    """What the transform of this package does with a decoded mask."""
    cv2.LUT(mask, build_label_table(LABEL_MAP))


def compare_index(paths: List[str], repeats: int) -> List[List[str]]:
    """Time the class index.

    Args:
        paths (list[str]): The masks.
        repeats (int): Timed calls of each side.

    Returns:
        list[list[str]]: Rows of the table.
    """
    bare = 'decoding every mask on all cores'
    with tempfile.TemporaryDirectory() as folder:
        class_presence(paths, cache_dir=folder)
        times = alternate(
            {
                bare:
                partial(decode_all, paths),
                'class index, first start':
                partial(scan_all, paths),
                'class index, second start':
                partial(class_presence, paths, cache_dir=folder)
            }, repeats)
    what = f'{len(paths):,} masks'
    return [[
        what, name, f'{np.median(values) / 1000:.3f} s',
        f'{np.median(values / times[bare]):.2f}'
    ] for name, values in times.items()]


def compare_mapping(repeats: int) -> List[List[str]]:
    """Time the mapping of labels of 512 x 512 pixels.

    Args:
        repeats (int): Timed calls of each side.

    Returns:
        list[list[str]]: Rows of the table.
    """
    blocks = np.random.default_rng(0).integers(0, 21, (64, 64), np.uint8)
    mask = blocks.repeat(8, 0).repeat(8, 1)
    with tempfile.TemporaryDirectory() as folder:
        path = osp.join(folder, 'mask.png')
        cv2.imwrite(path, mask)
        stock, table = LoadAnnotations(), LoadAnnotationsByTable()
        bare = 'decoding alone'
        sides: dict = {
            bare: partial(decode, path),
            'decoding and table': partial(load, table, path),
            'decoding and stock `label_map`': partial(load, stock, path),
            'table, mapping alone': partial(map_by_table, mask, path),
            'published approach, mapping alone':
            partial(map_by_lambda, mask, path)
        }
        times = alternate(sides, max(repeats, 51))
    return [[
        'mask of 512 x 512', name, f'{np.median(values):.3f} ms',
        f'{np.median(values / times[bare]):.2f}'
    ] for name, values in times.items()]


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
    MMLogger.get_instance('mmengine', log_level='ERROR')
    MMLogger.get_current_instance().setLevel('ERROR')
    rows = compare_index(paths, args.repeats) + compare_mapping(args.repeats)
    print(markdown_table(('work', 'side', 'time', 'to the first side'), rows))
    print(f'\n- Medians of {args.repeats}')
    print(describe_machine())


if __name__ == '__main__':
    main()
