"""Remake the table and the pictures of a run, or compare several runs."""
import argparse
import os.path as osp
from typing import Optional, Sequence

from mmseg_incremental.engine.cli import exit_on_bad_input
from mmseg_incremental.evaluation import (load_results, results_table,
                                          step_table)
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
    return parser.parse_args()


def report(paths: Sequence[str], out_dir: Optional[str] = None) -> None:
    """Print the tables and draw the pictures.

    Args:
        paths (Sequence[str]): Folders of the runs, or their results.json.
        out_dir (str, optional): Folder of the pictures. Defaults to None:
            ``report`` in the folder of a single run, ``comparison`` in the
            current one for several.
    """
    runs = [load_results(path) for path in paths]
    if len(runs) == 1:
        print(step_table(runs[0]))
        work_dir = paths[0] if osp.isdir(paths[0]) else osp.dirname(paths[0])
        pictures = write_report(work_dir, runs[0], out_dir=out_dir)
    else:
        pictures = write_comparison(runs, out_dir or 'comparison')
    print(results_table(runs))
    print('\n'.join(pictures))


@exit_on_bad_input
def main() -> None:
    args = parse_args()
    report(args.runs, args.out)


if __name__ == '__main__':
    main()
