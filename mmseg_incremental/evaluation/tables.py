from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

import numpy as np
from prettytable import PrettyTable

from .continual import average_iou, forgetting, mean_iou
from .results import iou_matrix

_COLUMNS = ('base', 'new', 'all', 'average', 'base (no bg)', 'all (no bg)',
            'average (no bg)', 'forgetting', 'forgetting (no bg)', 'BWT',
            'hIoU')


def results_table(
        results: Union[Mapping[str, Any], Sequence[Mapping[str, Any]]]) -> str:
    """The table of a paper: one row a run, both conventions of the mean.

    Args:
        results (Mapping | Sequence[Mapping]): Results of one or more runs.

    Returns:
        str: The table in percent and a caption that names the conventions.
    """
    runs = [results] if isinstance(results, Mapping) else list(results)
    table = PrettyTable(['method', *_COLUMNS], align='r')
    table.align['method'] = 'l'
    for name, run in zip(run_names(runs), runs):
        table.add_row([
            name if run['complete'] else f'{name} *',
            *map(_percent,
                 summary_row(run).values())
        ])
    lines = [table.get_string(), *dict.fromkeys(map(caption, runs))]
    lines.append(
        'IoU in percent. base, all, average and forgetting have the '
        'background in the mean, the columns (no bg) do not; new has only '
        'foreground classes. Classes without ground truth are left out.')
    lines += [
        f'* {name}: {len(run["steps"])} of {run["conventions"]["num_steps"]} '
        f'steps, state after step {run["steps"][-1]["step"]}.'
        for name, run in zip(run_names(runs), runs) if not run['complete']
    ]
    return '\n'.join(lines)


def step_table(results: Mapping[str, Any]) -> str:
    """The course of one run: one row a step.

    Args:
        results (Mapping): Results of the run.

    Returns:
        str: The table, IoU in percent.
    """
    conventions = results['conventions']
    table = PrettyTable([
        'step', 'new classes', 'train images', 'base', 'new', 'mIoU',
        'mIoU (no bg)', 'seconds', 'memory (MB)'
    ])
    table.align = 'r'
    table.align['new classes'] = 'l'
    for record in results['steps']:
        seconds = record['train_seconds']
        memory = record.get('peak_memory_mb')
        images = record['num_train_images']
        table.add_row([
            record['step'],
            shorten_names(record['new_classes']),
            '-' if images is None else images,
            _percent(group_mean(record, conventions['base_classes'])),
            _percent(group_mean(record, conventions['new_classes'])),
            _percent(record['mIoU']),
            _percent(record['mIoU_no_bg']),
            '-' if seconds is None else f'{seconds:.1f}',
            '-' if memory is None else f'{memory:.0f}',
        ])
    return table.get_string()


def caption(results: Mapping[str, Any]) -> str:
    """Data set, task, setting and treatment of future classes, in a line.

    Args:
        results (Mapping): Results of a run.

    Returns:
        str: The line.
    """
    conventions = results['conventions']
    future = conventions.get('future', 'not recorded')
    line = (f'{results["dataset"]}, {results["task"]} {results["setting"]}; '
            f'future-class pixels at intermediate steps: {future}')
    if conventions.get('background') == 'ignore':
        line += '; background pixels: ignored, so in no mean'
    return f'{line}.'


def run_titles(runs: Sequence[Mapping[str, Any]]) -> List[str]:
    """What runs are of: the method and whatever else differs.

    Args:
        runs (Sequence[Mapping]): Results of the runs.

    Returns:
        list[str]: A title a run, the same for repeats.
    """
    keys = [
        key for key in ('task', 'setting', 'dataset')
        if len({run[key]
                for run in runs}) > 1
    ]
    return [
        ' '.join([run['method'], *(run[key] for key in keys)]) for run in runs
    ]


def run_names(runs: Sequence[Mapping[str, Any]]) -> List[str]:
    """Names that tell runs apart, repeats by a number.

    Args:
        runs (Sequence[Mapping]): Results of the runs.

    Returns:
        list[str]: Unique names.
    """
    names: List[str] = []
    for name in run_titles(runs):
        repeats = sum(other.partition(' #')[0] == name for other in names)
        names.append(f'{name} #{repeats + 1}' if repeats else name)
    return names


def group_mean(record: Mapping[str, Any],
               names: Sequence[str]) -> Optional[float]:
    """Mean IoU of a group of classes after a step.

    Args:
        record (Mapping): Record of the step.
        names (Sequence[str]): Names of the classes.

    Returns:
        float, optional: The mean in percent over the classes of the group
        that have an IoU, None if no class has.
    """
    iou = record['iou']
    return mean_iou(np.array([iou[name] for name in names if name in iou]))


def shorten_names(names: Sequence[str], limit: int = 3) -> str:
    """Names in a line, the middle left out if there are many.

    Args:
        names (Sequence[str]): Names.
        limit (int): Most names to write. Defaults to 3.

    Returns:
        str: The line.
    """
    if len(names) <= limit:
        return ', '.join(names)
    return f'{names[0]}, ..., {names[-1]} ({len(names)})'


def summary_row(results: Mapping[str, Any]) -> Dict[str, Optional[float]]:
    """One row of the table of a paper; what the summary lacks is computed.

    Args:
        results (Mapping): Results of a run.

    Returns:
        dict[str, float | None]: Percentages by title of the column, None
        where there is none.
    """
    background = results['conventions']['background_class']
    base = [
        name for name in results['conventions']['base_classes']
        if name != background
    ]
    iou, first_step = iou_matrix(results)
    foreground = [name != background for name in results['class_names']]
    summary = results['summary']
    return dict(
        zip(_COLUMNS,
            (summary['base'], summary['new'], summary['all'],
             summary['average'], group_mean(results['steps'][-1],
                                            base), summary['all_no_bg'],
             average_iou(iou[:, foreground]), summary['forgetting'],
             mean_iou(forgetting(iou, first_step)[foreground]), summary['bwt'],
             summary['hIoU'])))


def _percent(value: Optional[float]) -> str:
    return '-' if value is None else f'{value:.2f}'
