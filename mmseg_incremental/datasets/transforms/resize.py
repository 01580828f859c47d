"""Resizing as the crops of the published methods do it."""
from typing import Tuple

import mmcv
import numpy as np

from mmseg_incremental.errors import IncrementalConfigError


def check_size(size: object) -> None:
    """Refuse a size that is not a positive integer.

    Args:
        size (object): What the config has for a side in pixels.

    Raises:
        IncrementalConfigError: If it is something else.
    """
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise IncrementalConfigError(
            f'size is {size!r}, but positive integers in pixels are needed.')


def resize(img: np.ndarray, scale: Tuple[int, int],
           interpolation: str) -> np.ndarray:
    """Resize as the published code does, which uses Pillow.

    Pillow's bilinear averages when it shrinks, OpenCV's does not, and the
    labels OpenCV takes as the nearest lie half a source pixel beside the
    ones the bilinear image shows. Pillow is given uint8 only.

    Args:
        img (np.ndarray): Shape (H, W) or (H, W, C).
        scale (tuple[int, int]): Width and height to resize to.
        interpolation (str): 'bilinear' or 'nearest'.

    Returns:
        np.ndarray: The resized array, of the same type.
    """
    backend = 'pillow' if img.dtype == np.uint8 else 'cv2'
    return mmcv.imresize(
        img, scale, interpolation=interpolation, backend=backend)
