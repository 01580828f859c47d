from typing import Any, Mapping, Optional, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .continual import forgetting
from .report_style import (COLORS, GREY, INK, new_figure, step_colors, strip,
                           title)
from .results import iou_matrix


def matrix_figure(results: Mapping[str, Any]) -> Figure:
    """IoU of every class after every step as a heat map.

    Classes are in the order in which they were learned, with a gap between
    steps; cells of classes not seen yet are grey.

    Args:
        results (Mapping): Results of a run.

    Returns:
        Figure: The figure.
    """
    iou, first_step = iou_matrix(results)
    order = np.argsort(first_step, kind='stable')
    cells, groups = iou[:, order].T, first_step[order]
    num_classes, num_steps = cells.shape
    few = num_classes <= 40 and num_steps <= 20
    size = 0.27 if few else 0.15
    figure = new_figure(
        max(5.2, 2.6 + (0.52 if few else 0.3) * num_steps),
        1.9 + size * num_classes)
    axes = figure.subplots()
    image = axes.imshow(
        np.ma.masked_invalid(cells),
        cmap=colormaps['cividis'].with_extremes(bad=GREY),
        vmin=0,
        vmax=100,
        aspect='auto',
        interpolation='none')
    if few:
        _write_cells(axes, cells, groups)
    _label_matrix(axes, [results['class_names'][c] for c in order], groups,
                  num_steps, few)
    shrink = min(1, 6 / figure.get_figheight())
    bar = figure.colorbar(
        image, ax=axes, aspect=25, shrink=shrink, anchor=(0, 1))
    bar.set_label('IoU [%]', color=INK)
    bar.outline.set_visible(False)
    title(
        figure, f'{results["method"]}: IoU of every class after every step',
        f'{results["dataset"]}, {results["task"]} {results["setting"]}\n'
        'Grey: not seen yet' + (', –: seen but without ground truth.'
                                if few else ' or without ground truth.'))
    return figure


def forgetting_figure(results: Mapping[str, Any]) -> Optional[Figure]:
    """Forgetting of every class as bars.

    Args:
        results (Mapping): Results of a run.

    Returns:
        Figure, optional: The figure, None before the second step.
    """
    iou, first_step = iou_matrix(results)
    values = forgetting(iou, first_step)
    order = np.argsort(first_step, kind='stable')
    order = order[~np.isnan(values[order])]
    if not order.size:
        return None
    values, groups = values[order], first_step[order]
    few = len(order) <= 40
    width = max(6.5, 1.6 + (0.36 if few else 0.15) * len(order))
    figure = new_figure(width, 4.4)
    axes = figure.subplots()
    _draw_bars(axes, values, groups)
    strip(axes)
    axes.set_xticks(
        range(len(order)), [results['class_names'][c] for c in order],
        rotation=90)
    axes.tick_params('x', length=0, labelsize=9 if few else 6)
    axes.set_xlim(-0.7, len(order) - 0.3)
    axes.set_ylabel('forgetting [IoU points]', color=INK)
    title(
        figure, f'{results["method"]}: forgetting of every class',
        f'{results["dataset"]}, {results["task"]} {results["setting"]}; best '
        f'IoU after an earlier step minus IoU after step {len(iou) - 1}')
    return figure


def _label_matrix(axes: Axes, names: Sequence[str], groups: np.ndarray,
                  num_steps: int, few: bool) -> None:
    """Name rows and columns, with gaps between the steps of both."""
    axes.set_yticks(range(len(names)), names, fontsize=9 if few else 6)
    axes.set_xticks(range(num_steps))
    axes.set_xlabel('step', color=INK)
    axes.tick_params(length=0, colors=INK, labeltop=not few)
    axes.spines[:].set_visible(False)
    axes.vlines(
        np.arange(num_steps - 1) + 0.5,
        -0.5,
        len(names) - 0.5,
        colors='white',
        linewidth=1)
    axes.hlines(
        np.flatnonzero(np.diff(groups)) + 0.5,
        -0.5,
        num_steps - 0.5,
        colors='white',
        linewidth=3.5 if few else 1.5)


def _draw_bars(axes: Axes, values: np.ndarray, groups: np.ndarray) -> None:
    """A bar a class in the colour of its step, and the mean as a line."""
    colors = step_colors(groups.max() + 1)
    axes.bar(range(len(values)), values, color=colors[groups], width=0.8)
    axes.axhline(0, color=INK, linewidth=0.8)
    line = axes.axhline(
        values.mean(),
        color=COLORS[1],
        linewidth=1.4,
        linestyle='--',
        label=f'mean {values.mean():.1f}')
    steps = np.unique(groups)
    bars = [Patch(color=colors[t], label=f'step {t}') for t in steps]
    axes.legend(
        handles=[*bars, line],
        title='learned in',
        title_fontsize=9,
        fontsize=9,
        frameon=False,
        alignment='left',
        loc='upper left',
        bbox_to_anchor=(1, 1),
        ncols=1 + len(steps) // 13)


def _write_cells(axes: Axes, cells: np.ndarray, groups: np.ndarray) -> None:
    """Numbers, white on dark; an en dash for a class without ground truth."""
    for row, column in np.ndindex(*cells.shape):
        value = cells[row, column]
        if np.isnan(value) and column < groups[row]:
            continue
        axes.text(
            column,
            row,
            '–' if np.isnan(value) else f'{value:.1f}',
            ha='center',
            va='center',
            size=8,
            color='white' if value < 50 else 'black')
