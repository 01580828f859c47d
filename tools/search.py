"""Choose a value of one option without looking at the validation images."""
import argparse
import ast
import json
import logging
import os.path as osp
import re
from typing import Any, List, Sequence

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from prettytable import PrettyTable

from mmseg_incremental.datasets.holdout import DEFAULT_SPLIT
from mmseg_incremental.engine import build_scenario, load_config, run_steps
from mmseg_incremental.engine.cli import (exit_on_bad_input, parse_run_args,
                                          parse_steps, refuse_other)
from mmseg_incremental.engine.distributed import (on_main_process,
                                                  start_distributed)
from mmseg_incremental.engine.run_check import check_models
from mmseg_incremental.engine.run_state import check_steps
from mmseg_incremental.engine.step_config import final_checkpoint
from mmseg_incremental.errors import DivergedError, IncrementalConfigError
from mmseg_incremental.evaluation.results_io import write_atomically

COLUMNS = ('base', 'new', 'all', 'all_no_bg', 'hIoU')
# By the mean of all classes, a model that learns nothing may be the best; the
# harmonic mean of base and new classes is 0 there.
CRITERIA = dict(
    all='mIoU of all classes', hIoU='harmonic mean of base and new classes')


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
    args = parse_run_args(parser)
    stem = osp.splitext(osp.basename(args.config))[0]
    if args.work_dir is None:
        names = ['search', stem, args.method, args.option]
        args.work_dir = osp.join('work_dirs', '_'.join(filter(None, names)))
    args.values = [parse_value(value) for value in args.values]
    return args


def parse_value(text: str) -> Any:
    """A literal of Python, or else the text itself."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def load(args: argparse.Namespace, name: str, **options: Any) -> Config:
    """Load the config of one run of the search."""
    cfg = load_config(
        args.config,
        method=args.method,
        cfg_options={
            'num_panel_images': 0,
            **(args.cfg_options or {}),
            **options
        },
        work_dir=osp.join(args.work_dir, re.sub(r'[^\w.=+-]', '_', name)))
    if cfg.get('holdout') is None:
        cfg.holdout = ConfigDict(DEFAULT_SPLIT)
    cfg.launcher = args.launcher
    return cfg


def load_values(args: argparse.Namespace) -> List[Config]:
    """Load the config of every value, and refuse what cannot be searched."""
    if any(value in args.values[:i] for i, value in enumerate(args.values)):
        raise IncrementalConfigError(
            f'--values {args.values} names a value twice; name each once.')
    configs = [
        load(args, f'{args.option}={value}', **{args.option: value})
        for value in args.values
    ]
    for cfg in configs:
        steps = parse_steps(args.steps) or range(len(build_scenario(cfg)))
        check_steps(cfg, steps)
        if max(steps) == 0:
            raise IncrementalConfigError(
                f'--option {args.option} has no effect: step 0 is trained '
                'without it; search a method and --steps with a later step.')
        check_models(cfg, [max(steps)])
    return configs


def claim(args: argparse.Namespace) -> str:
    """Refuse the folder of another search; return the file of this one."""
    path = osp.join(args.work_dir, 'search.json')
    names = ('config', 'method', 'option', 'steps', 'base_checkpoint',
             'cfg_options')
    # Through JSON, as it is read again.
    search = json.loads(json.dumps({key: getattr(args, key) for key in names}))
    if osp.isfile(path):
        with open(path, encoding='utf-8') as file:
            held = json.load(file)['search']
        refuse_other(args.work_dir, 'a search', held, search)
    else:
        save(path, dict(search=search, best={}, rows=[]))
    return path


def save(path: str, content: dict) -> None:
    """Write the file of the search."""
    write_atomically(json.dumps(content, indent=2).encode(), path)


def search(args: argparse.Namespace, configs: Sequence[Config],
           path: str) -> None:
    """Run every value and keep what it gives.

    Args:
        args (argparse.Namespace): The command line.
        configs (Sequence[Config]): What :func:`load_values` returned.
        path (str): The file of the search. A row has the value and the
            percentages after the last step, None if the training diverged.
    """
    base = args.base_checkpoint
    if base is None:
        cfg = load(args, 'base')
        run_steps(cfg, steps=[0], resume=True)
        base = final_checkpoint(cfg, 0)
    for value, cfg in zip(args.values, configs):
        try:
            summary = run_steps(
                cfg,
                steps=parse_steps(args.steps),
                resume=True,
                base_checkpoint=base)['summary']
        except DivergedError as error:
            print_log(str(error), level=logging.WARNING)
            summary = dict.fromkeys(COLUMNS)
        row = dict(value=value, **{key: summary[key] for key in COLUMNS})
        # Through JSON, as the others are read again.
        on_main_process(keep, path, json.loads(json.dumps(row)))


def keep(path: str, row: dict) -> None:
    """Put a row among those of earlier values, in the place of its own."""
    with open(path, encoding='utf-8') as file:
        content = json.load(file)
    rows = [old for old in content['rows'] if old['value'] != row['value']]
    rows.append(row)
    best = {}
    for name in CRITERIA:
        finished = [row for row in rows if row[name] is not None]
        if finished:
            best[name] = max(finished, key=lambda row: row[name])['value']
    save(path, dict(content, best=best, rows=rows))


def report(path: str) -> None:
    """Print the table and name the best values."""
    with open(path, encoding='utf-8') as file:
        content = json.load(file)
    option, rows = content['search']['option'], content['rows']
    table = PrettyTable([option, *COLUMNS], align='r')
    for row in rows:
        table.add_row([
            row['value'], *('-' if row[key] is None else f'{row[key]:.2f}'
                            for key in COLUMNS)
        ])
    print(table)
    for name, value in content['best'].items():
        print(f'Best {CRITERIA[name]} on the held-out images: '
              f'{option}={value}')
    print(f'Results: {path}')


@exit_on_bad_input
def main() -> None:
    args = parse_args()
    configs = load_values(args)
    start_distributed(configs[0])
    path = on_main_process(claim, args)
    search(args, configs, path)
    on_main_process(report, path)


if __name__ == '__main__':
    main()
