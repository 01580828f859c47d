"""What all benchmarks measure with."""
import argparse
import ctypes
import gc
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import (Any, Callable, Dict, Hashable, Iterable, Iterator, List,
                    Optional, Sequence, Tuple, TypeVar)
from unittest.mock import patch

import mmcv
import mmengine
import mmseg
import numpy as np
import torch
from mmengine.device import get_device

import mmseg_incremental
from mmseg_incremental.engine.device import device_name, processor_name

# Of a side, for a table or for those who look it up.
Name = TypeVar('Name', bound=Hashable)
# Name of the side that all others are compared with.
STOCK = 'MMSegmentation'
# What is in the names of sides with such a teacher.
HALF = 'teacher in bfloat16'
# What takes seconds to be loaded.
LIBRARIES = ['mmseg.apis', 'mmseg_incremental.engine']


def positive_int(text: str) -> int:
    """A number of the command line that counts something.

    Args:
        text (str): What the user wrote.

    Returns:
        int: The number.

    Raises:
        argparse.ArgumentTypeError: If it is not one from 1 on.
    """
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no count; it has to be a number of 1 or more')
    return int(text)


def build_parser(
        description: str,
        repeated: str = 'timed calls of each side') -> argparse.ArgumentParser:
    """A command line that says how often to measure.

    Args:
        description (str): Docstring of the benchmark.
        repeated (str): What ``--repeats`` counts. Defaults to 'timed calls of
            each side'.

    Returns:
        argparse.ArgumentParser: The parser, to be given what else there is.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        '--repeats', type=positive_int, default=7, help=repeated)
    return parser


def in_turns(names: Iterable[Name],
             repeats: int) -> Iterator[Tuple[int, Name]]:
    """The order in which sides are measured.

    Each turn has an order of its own, drawn at random but the same in every
    run: what another side leaves behind in the caches, or a machine that
    slows down, favours none.

    Args:
        names (Iterable): Names of the sides.
        repeats (int): How often each is measured.

    Yields:
        tuple: The turn, counted from 0, and the side.
    """
    names = list(names)
    for repeat in range(repeats):
        for index in np.random.default_rng(repeat).permutation(len(names)):
            yield repeat, names[index]


def alternate(sides: Dict[Name, Callable[[], Any]],
              repeats: int,
              check: Optional[Callable] = None) -> Dict[Name, np.ndarray]:
    """Time functions in turns.

    Args:
        sides (dict): The functions by name.
        repeats (int): How often each is timed, after a call that is not.
        check (Callable, optional): Takes what the untimed calls return, by
            name, and raises if it is wrong. Defaults to None.

    Returns:
        dict: By name, milliseconds of every timed call.
    """
    times: Dict[Name, List[float]] = {name: [] for name in sides}
    results = {name: function() for name, function in sides.items()}
    if check is not None:
        check(results)
    del results
    gc.collect()
    for _, name in in_turns(sides, repeats):
        _synchronize()
        start = time.perf_counter()
        sides[name]()
        _synchronize()
        times[name].append(1000 * (time.perf_counter() - start))
    return {name: np.array(values) for name, values in times.items()}


def _synchronize() -> None:
    if get_device() == 'cuda':
        torch.cuda.synchronize()


def peak_memories(build: Callable[..., Callable[[], Any]],
                  calls: Iterable[Tuple[Sequence[Any], Sequence[Any]]],
                  on_host: bool = False) -> List[float]:
    """Most memory that functions take beyond their inputs.

    Each runs in a process of its own, whose memory nothing else has touched:
    the fork of one that has loaded the libraries and done nothing else. A
    small call comes first. Nothing is timed, so that two run at a time.

    Args:
        build (Callable): Makes the inputs and returns the function; it is
            importable by name.
        calls (Iterable[tuple[Sequence, Sequence]]): Its arguments for little
            work, and its arguments, for each function.
        on_host (bool): Whether the functions have nothing to do with a GPU.
            Defaults to False.

    Returns:
        list[float]: MiB.
    """
    context = get_context('forkserver')
    context.set_forkserver_preload(LIBRARIES)

    def measure(call: Tuple[Sequence[Any], Sequence[Any]]) -> float:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(_measure, build, *call, on_host,
                               torch.get_num_threads()).result()

    # Beside each other on a GPU they would take its memory from one another.
    count = 2 if on_host or get_device() == 'cpu' else 1
    # A thread that spins while it waits would slow the other process down.
    with patch.dict(os.environ, OMP_WAIT_POLICY='passive'):
        with ThreadPoolExecutor(count) as threads:
            return list(threads.map(measure, calls))


def _measure(build: Callable, small: Sequence[Any], args: Sequence[Any],
             on_host: bool, num_threads: int) -> float:
    torch.set_num_threads(num_threads)
    build(*small)()
    _return_freed_memory()
    function = build(*args)
    _return_freed_memory()
    if not on_host and get_device() == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    Path('/proc/self/clear_refs').write_text('5')
    before = _status('VmRSS')
    function()
    return (_status('VmHWM') - before) / 1024


def _return_freed_memory() -> None:
    """Let no function use what another one has left to the process."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)


def _status(key: str) -> int:
    """A number of kilobytes that Linux knows about this process."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if key in line)


def ratio_cells(times: np.ndarray, stock: np.ndarray) -> List[str]:
    """How one side compares with another, turn by turn.

    Args:
        times (np.ndarray): Times of the side.
        stock (np.ndarray): Those of the other in the same turns.

    Returns:
        list[str]: Median of the ratio, and its quartiles.
    """
    low, median, high = np.percentile(times / stock, (25, 50, 75))
    return [f'{median:.2f}', f'{low:.2f} to {high:.2f}']


def markdown_table(header: Sequence[str],
                   rows: Sequence[Sequence[str]]) -> str:
    """A table for benchmarks/README.md."""
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)


def describe_machine() -> str:
    """Say where the times were taken."""
    versions = ', '.join(f'{package.__name__} {package.__version__}'
                         for package in (torch, mmengine, mmcv, mmseg,
                                         mmseg_incremental))
    return '\n'.join([
        f'- CPU: {processor_name()}, {os.cpu_count()} cores; '
        f'device: {device_name()}',
        f'- Threads of torch: {torch.get_num_threads()}',
        f'- Python {platform.python_version()}, {versions}'
    ])
