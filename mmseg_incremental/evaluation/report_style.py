from typing import Optional, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from mmseg.datasets import PascalVOCDataset

# Okabe and Ito's colours, which colour-blind readers tell apart, without the
# yellow, too pale for a line on white.
COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9',
          '#000000')
MARKERS = 'osD^vPX'
INK = '#333333'
GREY = '#D9D9D9'


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of its own, outside pyplot's global state.

    Args:
        width (float): Width in inches.
        height (float): Height in inches.

    Returns:
        Figure: The figure.
    """
    figure = Figure(figsize=(width, height), layout='constrained')
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    return figure


def title(figure: Figure, text: str, subtitle: str) -> None:
    """Write a title and, below it, what the numbers are.

    Args:
        figure (Figure): The figure.
        text (str): Title.
        subtitle (str): Data set, task and conventions.
    """
    # Roomy widths of a character at the two sizes, so that nothing is cut off
    characters = max(map(len, subtitle.split('\n')))
    needed = 0.3 + max(0.125 * len(text), 0.078 * characters)
    figure.set_figwidth(max(figure.get_figwidth(), needed))
    height = figure.get_figheight()
    lines = subtitle.count('\n') + 1
    room = 0.5 + 0.18 * lines
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - room / height))
    texts = ((text, 0.12, 13, 'bold', INK), (subtitle, 0.4, 9, None,
                                             '#666666'))
    for line, inches, size, weight, color in texts:
        figure.text(
            0.12 / figure.get_figwidth(),
            1 - inches / height,
            line,
            va='top',
            size=size,
            weight=weight,
            color=color,
            linespacing=1.35).set_in_layout(False)


def strip(axes: Axes, grid: Optional[str] = 'y') -> None:
    """Leave the axes only the lines that carry information.

    Args:
        axes (Axes): The axes.
        grid (str, optional): Axis with grid lines. Defaults to 'y'.
    """
    axes.spines[['top', 'right']].set_visible(False)
    axes.spines[['left', 'bottom']].set_color('#999999')
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color='#E6E6E6', linewidth=0.8)


def legend_beside(axes: Axes, heading: str) -> None:
    """Write the names to the right of the plot.

    Args:
        axes (Axes): The axes.
        heading (str): What stands above the names.
    """
    axes.legend(
        title=heading,
        title_fontsize=9,
        alignment='left',
        frameon=False,
        fontsize=9,
        loc='upper left',
        bbox_to_anchor=(1.0, 1.0))


def step_colors(num_steps: int) -> np.ndarray:
    """Colours of the steps, dark to light as steps are an order.

    Args:
        num_steps (int): Number of steps.

    Returns:
        np.ndarray: RGBA in [0, 1], shape (num_steps, 4).
    """
    return colormaps['viridis'](np.linspace(0.05, 0.85, max(num_steps, 1)))


def class_palette(
        num_classes: int,
        palette: Optional[Sequence[Sequence[int]]] = None) -> np.ndarray:
    """Colours of the labels for the look-up of a label map.

    Args:
        num_classes (int): Number of dataset labels, background included.
        palette (Sequence, optional): RGB in [0, 255] of every label. Defaults
            to None: the colours of PASCAL VOC up to 21 labels, hues in steps
            of the golden ratio beyond.

    Returns:
        np.ndarray: uint8 of shape (256, 3); labels without a class, 255 among
        them, have the off-white of PASCAL VOC's void.
    """
    if palette is None and num_classes <= 21:
        palette = PascalVOCDataset.METAINFO['palette']
    elif palette is None:
        index = np.arange(num_classes)
        hsv = np.stack([
            index * 0.618034 % 1, 0.55 + 0.45 * (index % 3) / 2, 0.95 - 0.4 *
            (index // 3 % 3) / 2
        ], 1)
        palette = 255 * hsv_to_rgb(hsv)
        palette[0] = 0
    colors = np.full((256, 3), (224, 224, 192), dtype=np.uint8)
    colors[:num_classes] = np.asarray(palette)[:num_classes]
    return colors
