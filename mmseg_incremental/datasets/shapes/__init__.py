"""The embedded data set: drawn on first use, Pascal VOC layout."""
from .dataset import ShapesDataset
from .glyphs import SHAPES_CLASSES, SHAPES_PALETTE
from .storage import draw_shapes

__all__ = ['SHAPES_CLASSES', 'SHAPES_PALETTE', 'ShapesDataset', 'draw_shapes']
