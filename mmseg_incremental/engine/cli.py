"""What the command line tools share."""
import argparse
import functools
import os
import re
import sys
from typing import Any, Callable, List, Mapping, Optional, Sequence

from mmengine.config import Config, DictAction
from prettytable import PrettyTable

from mmseg_incremental.datasets.read_once import read_once
from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario import ClassIncrementalScenario
from .base_checkpoint import prepare_base_checkpoint
from .data_check import count_step_images
from .method_config import method_name
from .regularizers import check_importance
from .run_check import check_models
from .run_state import check_run, check_steps
from .scenario_config import build_scenario
from .step_config import build_step_cfg

# No data set of masks has more than 255 classes, hence steps.
_STEPS = re.compile(r'\d{1,3}(-\d{1,3})?(,\d{1,3}(-\d{1,3})?)*', re.ASCII)


def exit_on_bad_input(main: Callable[[], None]) -> Callable[[], None]:
    """Turn bad input into one sentence on stderr and exit code 2.

    Args:
        main (Callable): Main function of a tool.

    Returns:
        Callable: The same, without a traceback for what a user can mend.
    """

    @functools.wraps(main)
    def wrapped() -> None:
        try:
            main()
        except IncrementalConfigError as error:
            sentence = ' '.join(str(error).split())
            print(f'error: {sentence}', file=sys.stderr)
            sys.exit(2)

    return wrapped


def parse_run_args(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Add the arguments that name a run, MMSegmentation's, and parse all.

    Args:
        parser (argparse.ArgumentParser): With the tool's own arguments.

    Returns:
        argparse.Namespace: The command line.
    """
    parser.add_argument('config', help='train config file path')
    parser.add_argument('--work-dir', help='the dir to save logs and models')
    parser.add_argument(
        '--method',
        help='method that replaces the one of the config: the name of a file '
        'in configs/_base_/methods')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override some settings in the used config, the key-value pair '
        'in xxx=yyy format will be merged into config file, for example '
        'scenario.task=15-5 data_root=/data/VOC2012')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    if 'LOCAL_RANK' not in os.environ:
        os.environ['LOCAL_RANK'] = str(args.local_rank)
    return args


def parse_steps(text: Optional[str]) -> Optional[List[int]]:
    """Parse ``--steps``.

    Args:
        text (str, optional): '3', '0-3', '0,2-4'; None for all steps.

    Returns:
        list[int], optional: Ascending steps, None for all.

    Raises:
        IncrementalConfigError: If it is something else.
    """
    if text is None:
        return None
    steps = []
    if _STEPS.fullmatch(text):
        for part in text.split(','):
            first, _, last = part.partition('-')
            steps.append(range(int(first), int(last or first) + 1))
    if not steps or not all(steps):
        raise IncrementalConfigError(
            f'--steps {text!r} is no range of steps; allowed are forms like '
            '3, 0-3 and 0,2-4.')
    return sorted(set().union(*steps))


def refuse_other(work_dir: str, what: str, held: Mapping[str, Any],
                 wanted: Mapping[str, Any]) -> None:
    """Refuse a folder that was begun by another command line.

    Args:
        work_dir (str): The folder.
        what (str): What it holds, for example 'a search'.
        held (Mapping[str, Any]): What that was begun with.
        wanted (Mapping[str, Any]): What it is to go on with.

    Raises:
        IncrementalConfigError: If a value differs.
    """
    for key, value in wanted.items():
        if held[key] != value:
            raise IncrementalConfigError(
                f'{work_dir} holds {what} with {key}={held[key]!r}, not '
                f'{value!r}; choose another --work-dir.')


def describe_steps(cfg: Config,
                   steps: Optional[Sequence[int]] = None,
                   base_checkpoint: Optional[str] = None) -> str:
    """Show what a run would do.

    Args:
        cfg (Config): Config of the run.
        steps (Sequence[int], optional): The steps. Defaults to None: all.
        base_checkpoint (str, optional): Checkpoint that stands in for step 0,
            which is checked. Defaults to None.

    Returns:
        str: A table with a row a step: its new classes and images.
        Where the data set cannot be read the counts are '-', and a closing
        line says why.

    Raises:
        IncrementalConfigError: If scenario, model, method or base checkpoint
            is not possible.
    """
    scenario = build_scenario(cfg)
    steps = range(len(scenario)) if steps is None else steps
    check_steps(cfg, steps)
    # A dry run may look at a work dir that holds results already.
    check_run(cfg, [], resume=True, base_checkpoint=base_checkpoint)
    check_models(cfg, steps)
    if base_checkpoint is not None:
        prepare_base_checkpoint(cfg, base_checkpoint)
        check_importance(cfg, base_checkpoint)
    table = PrettyTable(
        ['step', 'new classes', 'seen', 'train images', 'val images'])
    table.align['new classes'] = 'l'
    table.max_width['new classes'] = 60
    with read_once():
        problem = _add_steps(table, cfg, scenario, steps)
    title = (f'task {cfg.scenario.task}, {scenario.setting}, method '
             f'{method_name(cfg)}, {len(scenario)} steps, work dir '
             f'{cfg.work_dir}')
    return f'{title}\n{table}{problem}'


def _add_steps(table: PrettyTable, cfg: Config,
               scenario: ClassIncrementalScenario,
               steps: Sequence[int]) -> str:
    """Add a row a step; return why images are not counted, if they are not."""
    problem = ''
    for step in steps:
        step_cfg = build_step_cfg(cfg, step)
        counts = ('-', '-')
        if not problem:
            try:
                counts = count_step_images(step_cfg)
            except IncrementalConfigError as error:
                problem = f'\nImages are not counted: {error}'
        table.add_row([
            step, ', '.join(scenario.names(scenario.new(step))),
            len(scenario.seen(step)), *counts
        ])
    return problem
