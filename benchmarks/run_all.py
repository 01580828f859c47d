"""Run all benchmarks and put their tables into the README of this folder."""
import argparse
import os
import os.path as osp
import re
import subprocess
import sys
import time
from typing import NamedTuple, Optional, Tuple

from summary import summarize

FOLDER = osp.dirname(osp.abspath(__file__))
README = osp.join(FOLDER, 'README.md')
PLACE = '<!-- {0} -->\n.*?<!-- end of {0} -->\n'


class Benchmark(NamedTuple):
    """How a benchmark is run.

    Attributes:
        argv (tuple[str]): Its arguments.
        needs (str): The option that names its data, if it needs any.
        threads (int, optional): Threads of torch, None for one a core.
        if_named (bool): Whether it runs only if it is named: for want of a
            GPU, or as it has no demand of its own and takes long.
    """

    argv: Tuple[str, ...] = ()
    needs: str = ''
    threads: Optional[int] = None
    if_named: bool = False


BENCHMARKS = {
    'losses':
    Benchmark(),
    'iterations':
    Benchmark(),
    'memory':
    Benchmark(threads=1, if_named=True),
    'data':
    Benchmark(needs='masks'),
    'joint_vs_mmseg':
    Benchmark(('--iters', '20', '--repeats', '7'), threads=1, if_named=True),
    'sequence':
    Benchmark(('--data-root', ), needs='voc'),
    'scale':
    Benchmark(),
    'gpu':
    Benchmark(if_named=True)
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--masks',
        type=osp.abspath,
        help='folder of masks, such as those of VOC 2012 with SBD')
    parser.add_argument(
        '--voc',
        type=osp.abspath,
        help='folder of VOC, or of a part of it, to train on')
    parser.add_argument(
        '--only',
        nargs='+',
        choices=BENCHMARKS,
        default=[name for name in BENCHMARKS if not BENCHMARKS[name].if_named],
        help='which benchmarks (default: all but memory, joint_vs_mmseg '
        'and gpu)')
    args = parser.parse_args()
    for name in args.only:
        option = BENCHMARKS[name].needs
        if option and not getattr(args, option):
            parser.error(f'{name} needs --{option}; name a folder, or leave '
                         f'{name} out by --only')
    return args


def run(name: str, folder: Optional[str] = None) -> str:
    """Run a benchmark in a process of its own.

    Args:
        name (str): Name of the script.
        folder (str, optional): Its data. Defaults to None.

    Returns:
        str: Its tables and what it says of the machine, in Markdown.

    Raises:
        SystemExit: If it fails.
    """
    benchmark = BENCHMARKS[name]
    argv = [*benchmark.argv, *([folder] if folder else [])]
    env = dict(os.environ)
    if benchmark.threads is not None:
        env['OMP_NUM_THREADS'] = str(benchmark.threads)
    start, measured = time.perf_counter(), commit()
    done = subprocess.run(
        [sys.executable, osp.join(FOLDER, f'{name}.py'), *argv],
        cwd=osp.dirname(FOLDER),
        env=env,
        stdout=subprocess.PIPE,
        text=True)
    if done.returncode:
        sys.exit(f'{name} failed, see above; its table stays as it is.')
    # Libraries print to the same stream.
    lines = [
        line for line in done.stdout.splitlines()
        if line.startswith(('| ', '- ')) or not line
    ]
    minutes = (time.perf_counter() - start) / 60
    lines.append(f'- Commit {measured}; it took {minutes:.1f} minutes')
    return '\n'.join(lines).strip() + '\n'


def commit() -> str:
    """What of the repository is measured, 'unknown' without Git."""

    def git(*argv: str) -> str:
        try:
            return subprocess.run(['git', *argv],
                                  cwd=osp.dirname(FOLDER),
                                  capture_output=True,
                                  text=True).stdout.strip()
        except OSError:
            return ''

    # The page itself changes from one benchmark to the next.
    changed = git('status', '--porcelain', '--', ':!benchmarks/README.md')
    return (git('rev-parse', '--short', 'HEAD')
            or 'unknown') + (' and changes' if changed else '')


def record(text: str, name: str, tables: str) -> str:
    """Put the tables of a benchmark in their place.

    Args:
        text (str): The README.
        name (str): Name of the benchmark.
        tables (str): Its tables.

    Returns:
        str: The README with them.

    Raises:
        ValueError: If it has no place for them.
    """
    place = f'<!-- {name} -->\n\n{tables}\n<!-- end of {name} -->\n'
    text, count = re.subn(
        PLACE.format(name), lambda _: place, text, flags=re.S)
    if count != 1:
        raise ValueError(
            f'{README} has {count} places for {name}, which are lines '
            f'"<!-- {name} -->" and "<!-- end of {name} -->"; add one.')
    return text


def main() -> None:
    """Run the benchmarks one after the other."""
    args = parse_args()
    load = os.getloadavg()[0] if hasattr(os, 'getloadavg') else 0.0
    if load > 0.5:
        print(f'The load of the machine is {load:.1f}: other programs will '
              'be in the figures')
    start = time.perf_counter()
    for name in args.only:
        print(f'{name} ...', flush=True)
        option = BENCHMARKS[name].needs
        tables = run(name, getattr(args, option) if option else None)
        print(tables, flush=True)
        with open(README, encoding='utf-8') as file:
            text = record(file.read(), name, tables)
        text = record(text, 'demands', summarize(text))
        with open(README, 'w', encoding='utf-8') as file:
            file.write(text)
    print(f'{(time.perf_counter() - start) / 60:.1f} minutes in all')


if __name__ == '__main__':
    main()
