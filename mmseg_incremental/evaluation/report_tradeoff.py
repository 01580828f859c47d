from typing import Any, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .report_style import (COLORS, INK, MARKERS, legend_beside, new_figure,
                           strip, title)
from .tables import caption, run_names, summary_row


def tradeoff_figure(runs: Sequence[Mapping[str, Any]]) -> Optional[Figure]:
    """Old against new classes: a point a run, after its last step.

    Thin lines join the points of one mIoU over all classes.

    Args:
        runs (Sequence[Mapping]): Results of the runs.

    Returns:
        Figure, optional: The figure, None if no run has both groups.
    """
    points = _points(runs)
    if not points:
        return None
    figure = new_figure(7.2, 5.2)
    axes = figure.subplots()
    for i, (name, base, new) in enumerate(points):
        axes.plot(
            base,
            new,
            MARKERS[i // len(COLORS) % len(MARKERS)],
            color=COLORS[i % len(COLORS)],
            markersize=8,
            clip_on=False,
            zorder=3,
            label=f'{name}: {base:.1f} / {new:.1f}')
    strip(axes, None)
    top = 1.1 * max(1, *(max(point[1:]) for point in points))
    axes.set(xlim=(0, top), ylim=(0, top))
    axes.set_xlabel('base classes, mean IoU [%]', color=INK)
    axes.set_ylabel('new classes, mean IoU [%]', color=INK)
    legend_beside(axes, 'base / new')
    lines = [*dict.fromkeys(map(caption, runs))]
    if _draw_levels(axes, runs):
        lines.append('Thin lines: equal mIoU of all classes.')
    title(figure, 'Old against new classes', '\n'.join(lines))
    return figure


def _points(
        runs: Sequence[Mapping[str, Any]]) -> List[Tuple[str, float, float]]:
    """Name, base and new of the runs that have both."""
    rows = [(name, summary_row(run))
            for name, run in zip(run_names(runs), runs)]
    return [(name, row['base'], row['new']) for name, row in rows
            if row['base'] is not None and row['new'] is not None]


def _draw_levels(axes: Axes, runs: Sequence[Mapping[str, Any]]) -> bool:
    """Lines on which the mean over all classes is the same.

    There are none where the runs have different classes in the means.
    """
    groups = {
        tuple(
            len([name for name in run['conventions'][key] if name in iou])
            for key in ('base_classes', 'new_classes'))
        for run in runs
        for iou in [run['steps'][-1]['iou']]
    }
    if len(groups) > 1 or 0 in next(iter(groups)):
        return False
    num_base, num_new = groups.pop()
    _, top = axes.get_xlim()
    total = num_base + num_new
    for level in np.arange(10, 100, 10):
        on_x, on_y = level * total / num_base, level * total / num_new
        axes.plot((0, on_x), (on_y, 0), color='#DDDDDD', linewidth=0.8)
        # Written where the line leaves the plot: at the bottom or right.
        at_right = on_y * (1 - top / on_x)
        x, y = (on_x, 0) if on_x <= top else (top, at_right)
        if 0 <= y <= top:
            axes.annotate(
                str(level), (x, y), (2, 2),
                textcoords='offset points',
                size=7,
                color='#999999')
    return True
