"""How time and memory grow with classes, images, image size and steps."""
import math
import os
import os.path as osp
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Sequence

import cv2
import numpy as np
import torch
from common import (alternate, build_parser, describe_machine, markdown_table,
                    peak_memories)
from losses import Case, build
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from mmseg_incremental.datasets.class_index import class_presence
from mmseg_incremental.engine import build_step_cfg, load_config
from mmseg_incremental.engine.memory import freed
from mmseg_incremental.evaluation import IncrementalIoUMetric

OLD_CLASSES = (20, 50, 100, 300, 1000)
PIXELS = (128**2, 256**2, 512**2, 1024**2)
STEPS = (2, 5, 10, 20, 50)
IMAGES = (1000, 5000, 50000)
BEYOND = 1000000
# Milliseconds or MiB, below which growth drowns in what else there is.
SMALLEST = 2.0

# Makes the inputs and returns what is measured.
Run = Callable[..., Callable[[], Any]]


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

    def fitted(self, value: int) -> List[str]:
        """A row for a value beyond, on the straight line of least squares."""
        numbers = [
            np.polyval(np.polyfit(self.values, series, 1), value)
            for series in (self.times, self.peaks)
        ]
        return [
            self.what, f'{value:,} {self.grows_with}, fitted',
            *(f'{number:.0f}' for number in numbers), '', ''
        ]

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


def measure(build_run: Run,
            what: str,
            grows_with: str,
            values: Sequence[int],
            make: Callable[[int], tuple],
            repeats: int,
            on_host: bool = False) -> Growth:
    """Measure a function at several values.

    Args:
        build_run (Callable): Makes the inputs and returns the function.
        what (str): What is measured.
        grows_with (str): What is varied.
        values (Sequence[int]): The values.
        make (Callable): Arguments of ``build_run`` for a value.
        repeats (int): Timed calls of each value.
        on_host (bool): Whether it has nothing to do with a GPU. Defaults to
            False.

    Returns:
        Growth: Medians and peaks.
    """
    times = alternate({str(v): build_run(*make(v)) for v in values}, repeats)
    peaks = peak_memories(build_run, [(make(values[0]), make(value))
                                      for value in values], on_host)
    medians = [float(np.median(times[str(value)])) for value in values]
    return Growth(what, grows_with, list(values), medians, peaks)


def count_pixels(num_classes: int) -> Callable[[], Any]:
    """A function that counts an image of 500 x 375 for the metric."""
    generator = torch.Generator().manual_seed(0)
    pred, label = torch.randint(
        num_classes, (2, 500, 375), generator=generator)
    return partial(IncrementalIoUMetric.intersect_and_union, pred, label,
                   num_classes, 255)


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

    def run() -> None:
        # As in a step, where MMEngine's search for garbage is short.
        with freed():
            DATASETS.build(cfg)

    return run


def build_configs(num_steps: int) -> Callable[[], List[Config]]:
    """A function that makes the configs of all steps of a run."""
    names = ('background', *(f'c{i}' for i in range(num_steps)))
    cfg = load_config('configs/incremental/custom_voc_layout.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader,
                   cfg.test_dataloader):
        loader.dataset.dataset.metainfo = dict(classes=names)
    cfg.scenario = dict(task='1-1')
    return lambda: [build_step_cfg(cfg, step) for step in range(num_steps)]


def measure_losses(repeats: int) -> List[Growth]:
    """Losses over classes and pixels, and the metric over classes."""
    return [
        measure(build, 'fused losses', 'old classes', OLD_CLASSES, lambda old:
                ('fused losses', Case(old + 5, old, 8)), repeats),
        measure(
            build, 'fused losses', 'pixels', PIXELS, lambda pixels:
            ('fused losses', Case(21, 16, 8, size=math.isqrt(pixels))),
            repeats),
        measure(count_pixels, 'metric of an image', 'classes', OLD_CLASSES,
                lambda classes: (classes, ), repeats, True)
    ]


def measure_images(repeats: int) -> List[Growth]:
    """Class index and dataset over the number of images."""
    with tempfile.TemporaryDirectory() as root:
        folders = {number: osp.join(root, str(number)) for number in IMAGES}
        for number, folder in folders.items():
            os.mkdir(folder)
            make_images(folder, number)
            index_images(folder)()
        return [
            measure(function, what, 'images', IMAGES, lambda number:
                    (folders[number], ), repeats, True)
            for function, what in ((index_images, 'class index, read again'),
                                   (build_dataset, 'dataset of a step'))
        ]


def main() -> None:
    """Run the benchmark and print a table for benchmarks/README.md."""
    parser = build_parser(__doc__, 'timed calls of each value')
    args = parser.parse_args()
    growths = measure_losses(args.repeats)
    growths.append(
        measure(build_configs, 'configs of all steps', 'steps', STEPS,
                lambda steps: (steps, ), args.repeats, True))
    rows = [row for growth in growths for row in growth.rows()]
    for growth in measure_images(args.repeats):
        rows += [*growth.rows(), growth.fitted(BEYOND)]
    print(
        markdown_table(('work', 'size', 'ms', 'peak MiB', 'exponent of time',
                        'exponent of memory'), rows))
    print(f'\n- Medians of {args.repeats}')
    print(describe_machine())


if __name__ == '__main__':
    main()
