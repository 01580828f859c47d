"""Runs that were repeated, with several seeds or orders of the classes."""
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np
from prettytable import PrettyTable

from mmseg_incremental.errors import IncrementalConfigError
from .tables import run_titles, summary_row


def repeats_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """One row a method: mean and standard deviation of its runs.

    Runs are repeats of each other if they have method, task, setting and data
    set in common. The deviation is that of a sample, with n - 1.

    Args:
        runs (Sequence[Mapping]): Results of the runs.

    Returns:
        str: The table in percent; a single run has no deviation, and a column
        that a run does not have is '-'.

    Raises:
        IncrementalConfigError: If a run is not complete, or repeats differ in
            their conventions.
    """
    rows: Dict[str, List[dict]] = {}
    conventions: Dict[str, dict] = {}
    for title, run in zip(run_titles(runs), runs):
        if not run['complete']:
            raise IncrementalConfigError(
                f'a run of {title} has {len(run["steps"])} of '
                f'{run["conventions"]["num_steps"]} steps; finish it with '
                '--resume or leave it out of the mean.')
        held = conventions.setdefault(title, run['conventions'])
        for key, value in run['conventions'].items():
            if value != held.get(key):
                raise IncrementalConfigError(
                    f'runs of {title} have {key}={held.get(key)!r} and '
                    f'{value!r}; average runs of one convention.')
        rows.setdefault(title, []).append(summary_row(run))
    columns = list(summary_row(runs[0]))
    table = PrettyTable(['method', 'runs', *columns], align='r')
    table.align['method'] = 'l'
    for title, repeats in rows.items():
        table.add_row([
            title,
            len(repeats),
            *(_spread([row[column] for row in repeats]) for column in columns)
        ])
    return f'{table.get_string()}\nmean ± standard deviation of the runs'


def _spread(values: Sequence[Optional[float]]) -> str:
    if None in values:
        return '-'
    mean = f'{np.mean(values):.2f}'
    return mean if len(
        values) == 1 else f'{mean} ± {np.std(values, ddof=1):.2f}'
