from typing import Any, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .report_style import (COLORS, INK, MARKERS, legend_beside, new_figure,
                           strip, title)
from .tables import caption, run_names, summary_row

# Name, then mean IoU in percent of the base and of the new classes.
Point = Tuple[str, float, float]


def tradeoff_figure(runs: Sequence[Mapping[str, Any]]) -> Optional[Figure]:
    """Old against new classes: a point a run, after its last step.

    Args:
        runs (Sequence[Mapping]): Results of the runs.

    Returns:
        Figure, optional: The figure, None if no run has both groups.
    """
    points = _points(runs)
    if not points:
        return None
    captions = [*dict.fromkeys(map(caption, runs))]
    return draw_tradeoff(points, captions, _base_share(runs))


def draw_tradeoff(points: Sequence[Point],
                  captions: Sequence[str],
                  base_share: Optional[float] = None) -> Figure:
    """Draw old against new classes.

    Args:
        points (Sequence[Point]): Name, mean IoU of the base classes and of
            the new ones in percent of every run.
        captions (Sequence[str]): Lines below the title: what was run.
        base_share (float, optional): Share of the base classes among all, in
            (0, 1). With it, thin lines join the points of one mIoU over all
            classes. Defaults to None.

    Returns:
        Figure: The figure.
    """
    figure = new_figure(7.2, 5.2)
    axes = figure.subplots()
    for i, (name, base, new) in enumerate(points):
        axes.plot(
            base,
            new,
            MARKERS[i // len(COLORS) % len(MARKERS)],
            color=COLORS[i % len(COLORS)],
            # Hollow, so that points upon each other are seen.
            fillstyle='none',
            markersize=8,
            markeredgewidth=2,
            clip_on=False,
            zorder=3,
            label=f'{name}: {base:.1f} / {new:.1f}')
    strip(axes, None)
    top = 1.1 * max(1, *(max(point[1:]) for point in points))
    axes.set(xlim=(0, top), ylim=(0, top))
    axes.set_xlabel('base classes, mean IoU [%]', color=INK)
    axes.set_ylabel('new classes, mean IoU [%]', color=INK)
    legend_beside(axes, 'base / new')
    lines = list(captions)
    if base_share is not None:
        _draw_levels(axes, base_share)
        lines.append('Thin lines: equal mIoU of all classes.')
    title(figure, 'Old against new classes', '\n'.join(lines))
    return figure


def _points(runs: Sequence[Mapping[str, Any]]) -> List[Point]:
    """Name, base and new of the runs that have both."""
    rows = [(name, summary_row(run))
            for name, run in zip(run_names(runs), runs)]
    return [(name, row['base'], row['new']) for name, row in rows
            if row['base'] is not None and row['new'] is not None]


def _base_share(runs: Sequence[Mapping[str, Any]]) -> Optional[float]:
    """Share of the base classes among all, None if runs differ in it."""
    groups = {
        tuple(
            len([name for name in run['conventions'][key] if name in iou])
            for key in ('base_classes', 'new_classes'))
        for run in runs
        for iou in [run['steps'][-1]['iou']]
    }
    if len(groups) > 1 or 0 in next(iter(groups)):
        return None
    num_base, num_new = groups.pop()
    return num_base / (num_base + num_new)


def _draw_levels(axes: Axes, base_share: float) -> None:
    """Lines on which the mean over all classes is the same."""
    _, top = axes.get_xlim()
    for level in np.arange(10, 100, 10):
        on_x, on_y = level / base_share, level / (1 - base_share)
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
