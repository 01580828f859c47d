import glob
import os.path as osp
from typing import Any, List, Mapping, Optional, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from .report_style import GREY, INK, class_palette, new_figure, title
from .tables import shorten_names


def panel_figure(work_dir: str,
                 results: Mapping[str, Any],
                 palette: Optional[Sequence[Sequence[int]]] = None,
                 max_steps: int = 6) -> Optional[Figure]:
    """Validation images, ground truth and the prediction after each step.

    Reads ``panel/<image id>/{image,ground_truth}.png`` of the run and
    ``step_<t>/panel/<image id>.png``. Masks have one channel, the dataset
    label of each pixel, 255 for void.

    Args:
        work_dir (str): Folder of the run.
        results (Mapping): Results of the run.
        palette (Sequence, optional): RGB in [0, 255] of every dataset label.
            Defaults to None, see :func:`class_palette`.
        max_steps (int): Most steps to show; of more, evenly spaced ones with
            the first and the last. Defaults to 6.

    Returns:
        Figure, optional: The figure, None if the run saved no images.
    """
    folders = sorted(
        glob.glob(osp.join(glob.escape(work_dir), 'panel', '*', '')))
    if not folders:
        return None
    records = results['steps']
    shown = np.linspace(0, len(records) - 1, min(len(records), max_steps))
    records = [records[i] for i in shown.round().astype(int)]
    rows = [_read_row(work_dir, folder, records) for folder in folders]
    colors = class_palette(len(results['class_names']), palette)

    ratios = [_aspect(row) for row in rows]
    columns = len(records) + 2
    labels = _labels(rows)
    legend_rows = -(-len(labels) // columns)
    figure = new_figure(1.75 * columns,
                        1.65 * sum(ratios) + 1.3 + 0.22 * legend_rows)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0, hspace=0)
    axes = figure.subplots(
        len(rows), columns, squeeze=False, height_ratios=ratios)
    for line, row in zip(axes, rows):
        _draw_row(line, row, colors)
    _name_columns(axes[0], records)
    _add_legend(figure, labels, results['class_names'], colors, columns)
    title(figure, f'{results["method"]}: predictions after the steps',
          f'{results["dataset"]}, {results["task"]} {results["setting"]}')
    return figure


def _read_row(work_dir: str, folder: str,
              records: Sequence[Mapping]) -> List[Optional[np.ndarray]]:
    """Image [H, W, 3] and masks [H, W], None where there is no file."""
    image_id = osp.basename(osp.dirname(folder))
    paths = [osp.join(folder, 'image.png')]
    paths.append(osp.join(folder, 'ground_truth.png'))
    paths += [
        osp.join(work_dir, f'step_{record["step"]}', 'panel',
                 f'{image_id}.png') for record in records
    ]
    row = [
        np.asarray(Image.open(path)) if osp.isfile(path) else None
        for path in paths
    ]
    return row


def _aspect(row: Sequence[Optional[np.ndarray]]) -> float:
    """Height over width of the first picture of a row."""
    shape = next((cell.shape for cell in row if cell is not None), (1, 1))
    return shape[0] / shape[1]


def _labels(rows: Sequence[Sequence[Optional[np.ndarray]]]) -> np.ndarray:
    """Labels that occur in the masks, ascending."""
    masks = [
        mask.ravel() for row in rows for mask in row[1:] if mask is not None
    ]
    return np.unique(np.concatenate(masks or [np.zeros(0, np.uint8)]))


def _draw_row(axes: Sequence[Axes], row: Sequence[Optional[np.ndarray]],
              colors: np.ndarray) -> None:
    for column, (ax, cell) in enumerate(zip(axes, row)):
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        if cell is None:
            ax.set_facecolor(GREY)
        elif column:
            ax.imshow(colors[cell], interpolation='nearest')
        else:
            ax.imshow(cell)


def _name_columns(axes: Sequence[Axes], records: Sequence[Mapping]) -> None:
    names = ['image', 'ground truth']
    for record in records:
        new = shorten_names(record['new_classes'], 1)
        if len(record['new_classes']) > 1:
            new = f'{len(record["new_classes"])} classes'
        names.append(f'step {record["step"]}\n+ {new}')
    for ax, name in zip(axes, names):
        ax.set_title(name, size=9, color=INK)


def _add_legend(figure: Figure, labels: np.ndarray, class_names: Sequence[str],
                colors: np.ndarray, columns: int) -> None:
    handles = [
        Patch(
            facecolor=colors[label] / 255,
            edgecolor='#999999',
            linewidth=0.5,
            label=class_names[label] if label < len(class_names) else 'void')
        for label in labels
    ]
    figure.legend(
        handles=handles,
        loc='outside lower center',
        ncols=min(columns, max(len(handles), 1)),
        frameon=False,
        fontsize=9)
