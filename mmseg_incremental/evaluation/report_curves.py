from typing import Any, Iterable, List, Mapping, Optional, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .report_style import (COLORS, INK, MARKERS, legend_beside, new_figure,
                           strip, title)
from .tables import caption, group_mean, run_names


def curves_figure(runs: Sequence[Mapping[str, Any]]) -> Figure:
    """mIoU over the steps.

    One run is drawn in one plot: both conventions of the mean, base and new.
    Several runs are drawn in three, for all, base and new classes, in one
    colour a run; a run of a single step, such as joint training, is a
    horizontal line.

    Args:
        runs (Sequence[Mapping]): Results of the runs.

    Returns:
        Figure: The figure.
    """
    longest = max(runs, key=lambda run: len(run['steps']))
    if len(runs) == 1:
        figure = new_figure(max(6.5, 0.42 * len(longest['steps']) + 3), 4.2)
        axes = [figure.subplots()]
        _draw_single_run(axes[0], longest)
        heading = f'{longest["method"]}: mIoU over the steps'
    else:
        figure = new_figure(13, 4.6)
        axes = figure.subplots(1, 3, sharey=True)
        _draw_runs(axes, runs)
        heading = 'mIoU over the steps'
        figure.legend(
            *axes[0].get_legend_handles_labels(),
            loc='outside lower center',
            ncols=min(len(runs) + 1, 7),
            frameon=False,
            fontsize=9)
    for ax in axes:
        _label_steps(ax, longest, len({run['task'] for run in runs}) == 1)
    axes[0].set_ylabel('IoU [%]', color=INK)
    lines = [*dict.fromkeys(map(caption, runs)), _mean_convention(longest)]
    title(figure, heading, '\n'.join(lines))
    return figure


def _draw_single_run(axes: Axes, run: Mapping[str, Any]) -> None:
    """Both means thick, base and new thin."""
    steps = [record['step'] for record in run['steps']]
    groups = run['conventions']
    curves = (
        ('all, with background', _means(run, 'mIoU'), COLORS[0], '-', 2.4),
        ('all, without background', _means(run, 'mIoU_no_bg'), COLORS[0], '--',
         1.8),
        ('base', _group_means(run,
                              groups['base_classes']), COLORS[2], '-', 1.2),
        ('new', _group_means(run, groups['new_classes']), COLORS[1], '-', 1.2),
    )
    for name, values, color, style, width in curves:
        if np.isnan(values).all():
            continue
        axes.plot(
            steps,
            values,
            style,
            color=color,
            linewidth=width,
            marker='o',
            markersize=1.8 * width + 1,
            label=f'{name}: {values[-1]:.1f}')
    legend_beside(axes, f'after step {steps[-1]}')


def _draw_runs(axes: Sequence[Axes], runs: Sequence[Mapping]) -> None:
    """All, base and new classes side by side, one colour a run."""
    for i, (name, run) in enumerate(zip(run_names(runs), runs)):
        groups = run['conventions']
        color = COLORS[i % len(COLORS)]
        marker = MARKERS[i // len(COLORS) % len(MARKERS)]
        _draw_curve(axes[0], run, _means(run, 'mIoU'), color, marker, name)
        _draw_curve(axes[0], run, _means(run, 'mIoU_no_bg'), color)
        for ax, key in zip(axes[1:], ('base_classes', 'new_classes')):
            values = _group_means(run, groups[key])
            _draw_curve(ax, run, values, color, marker, name)
    axes[0].plot([], [], '--', color='#777777', label='without background')
    for ax, name in zip(axes, ('all', 'base', 'new')):
        ax.set_title(name, loc='left', size=10, color=INK)


def _draw_curve(axes: Axes,
                run: Mapping[str, Any],
                values: Sequence[float],
                color: str,
                marker: Optional[str] = None,
                name: Optional[str] = None) -> None:
    """A curve; dashed and thin if it has no marker."""
    style = dict(color=color, label=name, linewidth=2 if marker else 1)
    if run['conventions']['num_steps'] == 1:
        axes.axhline(
            values[-1], linestyle=(0, (1, 1)) if marker else '--', **style)
        return
    axes.plot([record['step'] for record in run['steps']],
              values,
              linestyle='-' if marker else '--',
              marker=marker,
              markersize=4.5,
              **style)


def _label_steps(axes: Axes, run: Mapping[str, Any], with_seen: bool) -> None:
    """Steps and, where the runs agree in it, the number of classes seen."""
    strip(axes)
    steps = [record['step'] for record in run['steps']]
    labels = [str(step) for step in steps]
    if with_seen:
        labels = [
            f'{step}\n({len(record["seen_classes"])})'
            for step, record in zip(steps, run['steps'])
        ]
    axes.set_xticks(steps, labels)
    axes.set_xlim(steps[0] - 0.3, steps[-1] + 0.3)
    axes.set_ylim(0, 100)
    axes.set_xlabel('step (classes seen)' if with_seen else 'step', color=INK)


def _mean_convention(run: Mapping[str, Any]) -> str:
    """What solid and dashed lines and base are."""
    if run['conventions']['background_class'] is None:
        return 'The data set has no background class.'
    return ('Solid: background in the mean, and in that of base; '
            'dashed: background left out.')


def _means(run: Mapping[str, Any], key: str) -> List[float]:
    return _numbers(record[key] for record in run['steps'])


def _group_means(run: Mapping[str, Any], names: Sequence[str]) -> List[float]:
    return _numbers(group_mean(record, names) for record in run['steps'])


def _numbers(values: Iterable[Optional[float]]) -> List[float]:
    return [np.nan if value is None else value for value in values]
