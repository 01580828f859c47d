"""Choose a value of one option without looking at the validation images."""
import argparse
import ast
import json
import os.path as osp
from typing import Any, List, Sequence

from mmengine.config import Config
from prettytable import PrettyTable

from mmseg_incremental.engine import build_step_cfg, load_config, run_steps
from mmseg_incremental.engine.checkpoints import read_meta
from mmseg_incremental.engine.cli import (exit_on_bad_input, parse_run_args,
                                          parse_steps)
from mmseg_incremental.engine.distributed import on_main_process
from mmseg_incremental.engine.run_check import count_step_images
from mmseg_incremental.errors import IncrementalConfigError

HOLDOUT = dict(fraction=0.2, seed=0)
COLUMNS = ('base', 'new', 'all', 'all_no_bg')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train the later steps once for each value of an option '
        'on a part of the training images, and compare on the rest of them. '
        'All values start from one base model. A search that was stopped '
        'goes on when it is started again.')
    parser.add_argument(
        '--option',
        required=True,
        metavar='KEY',
        help='what to choose, written as in --cfg-options, for example '
        'method.distillation.0.loss_weight; step 0 is trained without it')
    parser.add_argument(
        '--values', required=True, nargs='+', help='what to choose from')
    parser.add_argument(
        '--steps', help='steps to run, for example 0-2 (default: all of them)')
    parser.add_argument(
        '--base-checkpoint',
        help='checkpoint of the base classes, trained on the same part of '
        'the training images (default: it is trained first)')
    return parse_run_args(parser)


def load(args: argparse.Namespace, name: str, **options: Any) -> Config:
    """Load the config of one run of the search."""
    options = {'num_panel_images': 0, **(args.cfg_options or {}), **options}
    if not any(key.split('.')[0] == 'holdout' for key in options):
        options['holdout'] = HOLDOUT
    work_dir = args.work_dir or 'work_dirs/search'
    cfg = load_config(
        args.config,
        method=args.method,
        cfg_options=options,
        work_dir=osp.join(work_dir, name))
    cfg.launcher = args.launcher
    return cfg


def search(args: argparse.Namespace) -> List[dict]:
    """Run every value.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        list[dict]: The value and the percentages after the last step, a row
        a value.
    """
    steps = parse_steps(args.steps)
    base = args.base_checkpoint
    if base is None:
        cfg = load(args, 'base')
        run_steps(cfg, steps=[0], resume=True)
        base = osp.join(cfg.work_dir, 'step_0', 'final.pth')
    else:
        check_base(load(args, 'base'), base)
    rows = []
    for value in map(parse_value, args.values):
        cfg = load(args, f'{args.option}={value}', **{args.option: value})
        results = run_steps(
            cfg, steps=steps, resume=True, base_checkpoint=base)
        summary = results['summary']
        rows.append(
            dict(value=value, **{key: summary[key]
                                 for key in COLUMNS}))
    return rows


def check_base(cfg: Config, path: str) -> None:
    """Refuse a base model that is known to have seen other images."""
    seen = read_meta(path).get('incremental', {}).get('num_train_images')
    num_images, _ = count_step_images(build_step_cfg(cfg, 0))
    if seen not in (None, num_images):
        raise IncrementalConfigError(
            f'--base-checkpoint {path} was trained on {seen} images, but the '
            f'search trains on {num_images} and compares on others; leave it '
            'out, or train one with the same holdout.')


def parse_value(text: str) -> Any:
    """A literal of Python, or else the text itself."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def report(option: str, rows: Sequence[dict], folder: str) -> None:
    """Print the table, name the best value and keep both."""
    table = PrettyTable([option, *COLUMNS], align='r')
    for row in rows:
        table.add_row(
            [row['value'], *(f'{row[key] or 0:.2f}' for key in COLUMNS)])
    best = max(rows, key=lambda row: row['all'])['value']
    print(table)
    print(f'Best mIoU of all classes on the held-out images: {option}={best}')
    path = osp.join(folder, 'search.json')
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(dict(option=option, best=best, rows=rows), file, indent=2)
    print(f'Results: {path}')


@exit_on_bad_input
def main() -> None:
    args = parse_args()
    if len(set(args.values)) < len(args.values):
        raise IncrementalConfigError(
            f'--values {" ".join(args.values)} names a value twice; name each '
            'once.')
    rows = search(args)
    on_main_process(report, args.option, rows, args.work_dir
                    or 'work_dirs/search')


if __name__ == '__main__':
    main()
