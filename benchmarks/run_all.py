"""Run all benchmarks and put their tables into the README of this folder."""
import argparse
import os
import os.path as osp
import re
import subprocess
import sys
import time
from typing import Dict, List

FOLDER = osp.dirname(osp.abspath(__file__))
README = osp.join(FOLDER, 'README.md')
PLACE = '<!-- {0} -->\n.*?<!-- end of {0} -->\n'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'masks', help='folder of masks, such as those of VOC 2012 with SBD')
    parser.add_argument(
        'voc', help='folder of VOC, or of a part of it, to train on')
    parser.add_argument(
        '--only', nargs='+', help='names of benchmarks (default: all)')
    args = parser.parse_args()
    known = commands(args)
    for name in args.only or []:
        if name not in known:
            parser.error(f'--only {name} is none of {", ".join(known)}')
    return args


def commands(args: argparse.Namespace) -> Dict[str, List[str]]:
    """Arguments of every benchmark.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        dict[str, list[str]]: Arguments by name of the script.
    """
    return {
        'losses': [],
        'iterations': [],
        'data': [args.masks],
        'joint_vs_mmseg': ['--iters', '20', '--repeats', '7'],
        'sequence': ['--data-root', args.voc],
        'scale': []
    }


def run(name: str, argv: List[str]) -> str:
    """Run a benchmark in a process of its own.

    Args:
        name (str): Name of the script.
        argv (list[str]): Its arguments.

    Returns:
        str: Its tables and what it says of the machine, in Markdown.
    """
    start = time.perf_counter()
    out = subprocess.run(
        [sys.executable, osp.join(FOLDER, f'{name}.py'), *argv],
        cwd=osp.dirname(FOLDER),
        stdout=subprocess.PIPE,
        text=True,
        check=True).stdout
    # Libraries print to the same stream.
    lines = [
        line for line in out.splitlines()
        if line.startswith(('| ', '- ')) or not line
    ]
    minutes = (time.perf_counter() - start) / 60
    lines.append(f'- It took {minutes:.1f} minutes')
    return '\n'.join(lines).strip() + '\n'


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
    for name, argv in commands(args).items():
        if name in (args.only or commands(args)):
            print(f'{name} ...', flush=True)
            tables = run(name, argv)
            print(tables, flush=True)
            with open(README, encoding='utf-8') as file:
                text = record(file.read(), name, tables)
            with open(README, 'w', encoding='utf-8') as file:
                file.write(text)


if __name__ == '__main__':
    main()
