"""Time a training iteration by what becomes of the memory it frees.

By default large arrays go back to the system when they are freed, and every
page of the next one is handed out anew: twice an iteration for everything
that lives from the forward to the backward pass.
"""
import argparse
import json
import os
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path
from typing import Dict, List

import numpy as np
from common import (alternate, build_parser, describe_machine, in_turns,
                    markdown_table, positive_int)
from iterations import SIZE
from mmengine.registry import init_default_scope
from training import build_model, draw_batch, iteration

from mmseg_incremental.engine import load_config

CONFIG = 'configs/incremental/voc_15-5_cpu.py'
DEFAULT = 'as the system does it'
# The most that glibc takes; larger arrays go back to the system all the same.
LARGEST = str(2**25)


def environments() -> Dict[str, Dict[str, str]]:
    """Environment variables that each side adds, by its name."""
    sides = {
        DEFAULT: {},
        'kept by glibc':
        dict(
            MALLOC_MMAP_THRESHOLD_=LARGEST, MALLOC_TRIM_THRESHOLD_=str(2**40))
    }
    jemalloc = find_library('jemalloc')
    if jemalloc is not None:
        sides['kept by jemalloc, in huge pages'] = dict(
            LD_PRELOAD=jemalloc,
            MALLOC_CONF='thp:always,dirty_decay_ms:-1,muzzy_decay_ms:-1')
    return sides


def time_iterations(batch: int, iters: int) -> float:
    """Median of some training iterations of the CPU preset, in ms.

    Args:
        batch (int): Number of images.
        iters (int): Number of iterations.

    Returns:
        float: The median.
    """
    init_default_scope('mmseg')
    model = build_model(
        load_config(CONFIG).model,
        21,
        dict(type='CrossEntropyLoss'),
        type='EncoderDecoder')
    run = iteration(model, draw_batch(batch, 21, SIZE))
    return float(np.median(alternate({'': run}, iters)['']))


def measure(args: argparse.Namespace) -> Dict[str, List[float]]:
    """Run every side in processes of its own, in turns.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        dict[str, list[float]]: Milliseconds of an iteration by side.
    """
    sides = environments()
    # What the user has set must not be in all of them.
    common = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(('MALLOC_', 'LD_PRELOAD'))
    }
    times: Dict[str, List[float]] = {name: [] for name in sides}
    for _, name in in_turns(sides, args.repeats):
        done = subprocess.run([
            sys.executable, __file__, '--child', '--batch',
            str(args.batch), '--iters',
            str(args.iters)
        ],
                              env={
                                  **common,
                                  **sides[name]
                              },
                              stdout=subprocess.PIPE,
                              check=True)
        result = json.loads(done.stdout.splitlines()[-1])
        preloaded = sides[name].get('LD_PRELOAD')
        if preloaded is not None and not result['preloaded']:
            # The loader only warns.
            raise RuntimeError(f'{preloaded} could not be loaded')
        times[name].append(result['ms'])
    return times


def main() -> None:
    """Run the benchmark and print a table for benchmarks/README.md."""
    parser = build_parser(__doc__, 'processes of each side')
    parser.add_argument(
        '--iters',
        type=positive_int,
        default=5,
        help='timed iterations of a process')
    parser.add_argument('--batch', type=positive_int, default=4, help='images')
    parser.add_argument('--child', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        ms = time_iterations(args.batch, args.iters)
        maps = Path('/proc/self/maps').read_text()
        print(json.dumps(dict(ms=ms, preloaded='jemalloc' in maps)))
        return
    times = measure(args)
    first = np.array(times[DEFAULT])
    print(
        markdown_table(('freed memory is', 'ms', 'to the first'), [[
            name, f'{np.median(values):.0f}',
            f'{np.median(np.array(values) / first):.2f}'
        ] for name, values in times.items()]))
    print(
        f'\n- {CONFIG}, plain iteration, batch {args.batch}, {SIZE} x '
        f'{SIZE} pixels, {args.repeats} processes of {args.iters} iterations')
    print(describe_machine())


if __name__ == '__main__':
    main()
