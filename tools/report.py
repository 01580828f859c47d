"""Remake the table and the pictures of a run, or compare several runs."""
import argparse
import os.path as osp
from typing import Optional, Sequence

from mmseg_incremental.engine.cli import exit_on_bad_input
from mmseg_incremental.evaluation import (load_results, repeats_table,
                                          results_table, step_table)
from mmseg_incremental.evaluation.report import write_comparison, write_report


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Print the table of one or more runs and draw the '
        'pictures: those of one run, or several runs in one picture')
    parser.add_argument(
        'runs',
        nargs='+',
        metavar='WORK',
        help='folder of a run, or its results.json')
    parser.add_argument(
        '--out',
        metavar='DIR',
        help='folder of the pictures; by default WORK/report for one run and '
        './comparison for several')
    parser.add_argument(
        '--average',
        action='store_true',
        help='print mean and standard deviation of the runs of a method too, '
        'for example of several seeds')
    return parser.parse_args()


def report(paths: Sequence[str],
           out_dir: Optional[str] = None,
           average: bool = False) -> None:
    """Print the tables and draw the pictures.

    Args:
        paths (Sequence[str]): Folders of the runs, or their results.json.
        out_dir (str, optional): Folder of the pictures. Defaults to None:
            ``report`` in the folder of a single run, ``comparison`` in the
            current one for several.
        average (bool): Whether to print the mean of repeated runs too.
            Defaults to False.

    Raises:
        IncrementalConfigError: If results are missing, or a run that goes
            into a mean is not complete.
    """
    runs = [load_results(path) for path in paths]
    means = repeats_table(runs) if average else None
    if len(runs) == 1:
        print(step_table(runs[0]))
        work_dir = paths[0] if osp.isdir(paths[0]) else osp.dirname(paths[0])
        pictures = write_report(work_dir, runs[0], out_dir=out_dir)
    else:
        pictures = write_comparison(runs, out_dir or 'comparison')
    print(results_table(runs))
    if means is not None:
        print(means)
    print('\n'.join(pictures))


@exit_on_bad_input
def main() -> None:
    args = parse_args()
    report(args.runs, args.out, args.average)


if __name__ == '__main__':
    main()
