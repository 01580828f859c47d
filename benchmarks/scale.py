"""How time and memory grow with classes, images, image size and steps."""
import argparse
import math
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Sequence

import cv2
import numpy as np
from common import alternate, describe_machine, markdown_table, peak_memory
from losses import Case, build
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from mmseg_incremental.datasets.class_index import class_presence
from mmseg_incremental.engine import build_step_cfg, load_config

OLD_CLASSES = (20, 50, 100, 300, 1000)
PIXELS = (128**2, 256**2, 512**2, 1024**2)
STEPS = (2, 5, 10, 20, 50)
IMAGES = (1000, 50000, 200000)
BEYOND = 1000000
# Milliseconds or MiB, below which growth drowns in what else there is.
SMALLEST = 2.0


class Growth(NamedTuple):
    """A quantity at several values of what it grows with.

    Attributes:
        what (str): What is measured.
        grows_with (str): What is varied.
        values (list[int]): The values.
        times (list[float]): Milliseconds.
        peaks (list[float]): MiB.
    """

    what: str
    grows_with: str
    values: List[int]
    times: List[float]
    peaks: List[float]

    def rows(self) -> List[List[str]]:
        """Rows of the table, the exponents between the last two values."""
        ends = self.values[-2:]
        exponents = [
            f'{exponent(ends, series[-2:]):.2f}'.replace('nan', '-')
            for series in (self.times, self.peaks)
        ]
        return [[
            self.what, f'{value:,} {self.grows_with}', f'{time:.1f}',
            f'{peak:.1f}', *(exponents if value == ends[1] else ['', ''])
        ] for value, time, peak in zip(self.values, self.times, self.peaks)]


def exponent(values: Sequence[float], series: Sequence[float]) -> float:
    """The power of the value with which a series grows at its end."""
    if min(series) < SMALLEST:
        return math.nan
    return math.log(series[1] / series[0]) / math.log(values[1] / values[0])


def measure(build_run: Callable[...,
                                Callable[[], Any]], what: str, grows_with: str,
            values: Sequence[int], make: Callable, repeats: int) -> Growth:
    """Measure a function at several values.

    Args:
        build_run (Callable): Makes the inputs and returns the function.
        what (str): What is measured.
        grows_with (str): What is varied.
        values (Sequence[int]): The values.
        make (Callable): Arguments of ``build_run`` for a value.
        repeats (int): Timed calls of each value.

    Returns:
        Growth: Medians and peaks.
    """
    times = alternate({str(v): build_run(*make(v)) for v in values}, repeats)
    peaks = [
        peak_memory(build_run, make(values[0]), make(value))
        for value in values
    ]
    medians = [float(np.median(times[str(value)])) for value in values]
    return Growth(what, grows_with, list(values), medians, peaks)


def make_images(root: str, number: int) -> None:
    """Fill a folder with images and masks, all links to one of each."""
    root = Path(root)
    for name, suffix in (('img', '.jpg'), ('ann', '.png')):
        folder = root / name
        folder.mkdir()
        first = folder / f'0{suffix}'
        cv2.imwrite(str(first), np.ones((8, 8), np.uint8))
        for i in range(1, number):
            # File systems limit the links to one file.
            if i % 30000 == 0:
                first = folder / f'{i}{suffix}'
                cv2.imwrite(str(first), np.ones((8, 8), np.uint8))
            else:
                os.link(first, folder / f'{i}{suffix}')


def index_images(root: str) -> Callable[[], Any]:
    """A function that reads the cached class index of a folder."""
    paths = sorted(str(path) for path in Path(root, 'ann').glob('*.png'))
    class_presence(paths)
    return partial(class_presence, paths)


def build_dataset(root: str) -> Callable[[], Any]:
    """A function that builds the dataset of a step from a folder."""
    MMLogger.get_instance('mmengine').setLevel('ERROR')
    init_default_scope('mmseg')
    cfg = dict(
        type='IncrementalDataset',
        dataset=dict(
            type='BaseSegDataset',
            metainfo=dict(classes=('background', 'a', 'b')),
            data_root=root,
            data_prefix=dict(img_path='img', seg_map_path='ann')),
        scenario=dict(task='1-1'),
        step=0)
    index_images(root)
    return partial(DATASETS.build, cfg)


def build_configs(num_steps: int) -> Callable[[], List[Config]]:
    """A function that makes the configs of all steps of a run."""
    names = ('background', *(f'c{i}' for i in range(num_steps)))
    cfg = load_config('configs/incremental/custom_voc_layout.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader,
                   cfg.test_dataloader):
        loader.dataset.dataset.metainfo = dict(classes=names)
    cfg.scenario = dict(task='1-1')
    return lambda: [build_step_cfg(cfg, step) for step in range(num_steps)]


def measure_all(repeats: int) -> List[Growth]:
    """Measure everything; the number of images is the last.

    Args:
        repeats (int): Timed calls of each value.

    Returns:
        list[Growth]: What was measured.
    """
    fused = 'fused losses'
    growths = [
        measure(build, fused, 'old classes', OLD_CLASSES, lambda old:
                (fused, Case(old + 5, old, 8)), repeats),
        measure(
            build, fused, 'pixels', PIXELS, lambda pixels:
            (fused, Case(21, 16, 8, size=math.isqrt(pixels))), repeats),
        measure(build_configs, 'configs of all steps', 'steps', STEPS,
                lambda steps: (steps, ), repeats)
    ]
    with tempfile.TemporaryDirectory() as root:
        folders = {number: str(Path(root, str(number))) for number in IMAGES}
        for number, folder in folders.items():
            os.mkdir(folder)
            make_images(folder, number)
        for function, what in ((index_images, 'class index, read again'),
                               (build_dataset, 'dataset of a step')):
            growths.append(
                measure(function, what, 'images', IMAGES, lambda number:
                        (folders[number], ), repeats))
    return growths


def beyond(growth: Growth) -> List[str]:
    """A row for more images than were measured."""
    factor = BEYOND / growth.values[-1]
    return [
        growth.what, f'{BEYOND:,} {growth.grows_with}, fitted',
        f'{growth.times[-1] * factor:.0f}', f'{growth.peaks[-1] * factor:.0f}',
        '', ''
    ]


def main() -> None:
    """Run the benchmark and print a table for benchmarks/README.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--repeats', type=int, default=7, help='timed calls of each value')
    args = parser.parse_args()
    rows = []
    for growth in measure_all(args.repeats):
        rows += growth.rows()
        if growth.grows_with == 'images':
            rows.append(beyond(growth))
    print(
        markdown_table(('work', 'size', 'ms', 'peak MiB', 'exponent of time',
                        'exponent of memory'), rows))
    print(f'\n- Medians of {args.repeats}')
    print(describe_machine())


if __name__ == '__main__':
    main()
