import io
import logging
import os.path as osp
from typing import Any, List, Mapping, Optional, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.logging import print_log

from .panel import panel_figure
from .report_curves import curves_figure
from .report_figures import forgetting_figure, matrix_figure
from .report_tradeoff import tradeoff_figure
from .results_io import write_atomically


def write_report(work_dir: str,
                 results: Mapping[str, Any],
                 palette: Optional[Sequence[Sequence[int]]] = None,
                 out_dir: Optional[str] = None) -> List[str]:
    """Draw the pictures of a run.

    ``curves.png`` (mIoU over the steps), ``iou_matrix.png`` (step x class),
    ``forgetting.png`` (from the second step on) and ``panel.png`` (if the
    run saved validation images).

    Args:
        work_dir (str): Folder of the run.
        results (Mapping): Results of the run.
        palette (Sequence, optional): RGB in [0, 255] of every dataset label,
            for the panel. Defaults to None, a palette by number of classes.
        out_dir (str, optional): Folder of the pictures. Defaults to None,
            ``report`` in ``work_dir``.

    Returns:
        list[str]: Paths of the pictures written.
    """
    figures = dict(
        curves=curves_figure([results]),
        iou_matrix=matrix_figure(results),
        forgetting=forgetting_figure(results),
        panel=panel_figure(work_dir, results, palette))
    reasons = dict(
        forgetting='no class was learned before the last step',
        panel=f'{osp.join(work_dir, "panel")} holds no images')
    for name, reason in reasons.items():
        if figures[name] is None:
            print_log(
                f'Report without {name}.png: {reason}.',
                logger='current',
                level=logging.INFO)
    out_dir = out_dir or osp.join(work_dir, 'report')
    return [
        save_figure(figure, osp.join(out_dir, f'{name}.png'))
        for name, figure in figures.items() if figure is not None
    ]


def write_comparison(runs: Sequence[Mapping[str, Any]],
                     out_dir: str) -> List[str]:
    """Draw several runs in one picture each.

    ``curves.png`` (mIoU over the steps) and ``base_new.png`` (old against
    new classes, where there are both).

    Args:
        runs (Sequence[Mapping]): Results of the runs.
        out_dir (str): Folder of the pictures.

    Returns:
        list[str]: Paths of the pictures written.
    """
    figures = dict(curves=curves_figure(runs), base_new=tradeoff_figure(runs))
    return [
        save_figure(figure, osp.join(out_dir, f'{name}.png'))
        for name, figure in figures.items() if figure is not None
    ]


def save_figure(figure: Figure, path: str, dpi: int = 150) -> str:
    """Render a figure as PNG, without a display.

    Args:
        figure (Figure): The figure.
        path (str): File to write.
        dpi (int): Pixels per inch. Defaults to 150.

    Returns:
        str: The path.
    """
    content = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(content, dpi=dpi, format='png')
    write_atomically(content.getvalue(), path)
    return path
