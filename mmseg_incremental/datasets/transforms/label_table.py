"""Label loading through a look-up table."""
from functools import lru_cache
from typing import Mapping, Optional, Tuple

import cv2
import numpy as np
from mmseg.datasets.transforms import LoadAnnotations
from mmseg.registry import TRANSFORMS

from mmseg_incremental.errors import IncrementalConfigError


def build_label_table(label_map: Mapping[int, int]) -> np.ndarray:
    """Turn a label map into a table with one entry for each uint8 label.

    Args:
        label_map (Mapping[int, int]): New label, 0 to 255, of each dataset
            label. Labels that are not in it stay as they are.

    Returns:
        np.ndarray: Read-only uint8 array of shape (256, ), the new label at
        the index of the old one. One array is shared by all calls with the
        same map.

    Raises:
        IncrementalConfigError: If a new label does not fit into uint8.
    """
    return _build_label_table(tuple(label_map.items()))


@lru_cache(maxsize=256)
def _build_label_table(items: Tuple[Tuple[int, int], ...]) -> np.ndarray:
    table = np.arange(256, dtype=np.uint8)
    for old, new in items:
        if not 0 <= new <= 255:
            raise IncrementalConfigError(
                f'label_map sends label {old} to {new}, but labels are 0 to '
                '255: use 255 for pixels to ignore.')
        # Keys that no uint8 mask can hold select nothing, as in the stock
        # transform.
        if 0 <= old <= 255:
            table[old] = new
    table.setflags(write=False)
    return table


@TRANSFORMS.register_module()
class LoadAnnotationsByTable(LoadAnnotations):
    """Load a segmentation map and map its labels in a single pass.

    The output equals that of :class:`mmseg.datasets.LoadAnnotations`, which
    makes one boolean mask for each class of ``label_map``; here the cost does
    not depend on the number of classes. ``reduce_zero_label`` is applied
    before the labels are mapped, as in the stock transform.

    transform(): _load_seg_map() -> LoadAnnotations._load_seg_map() -> cv2.LUT

    Required Keys:

    - seg_map_path (str): Path of the segmentation map.
    - seg_fields (list[str])
    - reduce_zero_label (bool)
    - label_map (dict[int, int], optional): New label of each dataset label.
    - label_table (np.ndarray, optional): uint8 array of shape (256, ), the
      same as a table. It is used in place of ``label_map``.

    Added Keys:

    - gt_seg_map (np.ndarray): uint8 array of shape (H, W).
    """

    def _load_seg_map(self, results: dict) -> None:
        """Load the map with the stock transform, then apply the table.

        Args:
            results (dict): Result dict of the dataset.

        Raises:
            IncrementalConfigError: If ``label_table`` is not a uint8 array
                of shape (256, ) or ``label_map`` leaves the range of uint8.
        """
        # A copy, since `label_map` belongs to the dataset and the stock
        # transform would apply it; the list in `seg_fields` is shared.
        stock = {**results, 'label_map': None}
        super()._load_seg_map(stock)
        seg_map = stock['gt_seg_map']
        table = self._get_table(results)
        if table is not None:
            # OpenCV 4 makes a column of a map that `squeeze` made 1-D.
            seg_map = cv2.LUT(seg_map, table).reshape(seg_map.shape)
        results['gt_seg_map'] = seg_map

    @staticmethod
    def _get_table(results: dict) -> Optional[np.ndarray]:
        """Get the table to apply, None for no mapping.

        Args:
            results (dict): Result dict of the dataset.

        Returns:
            np.ndarray, optional: uint8 array of shape (256, ).
        """
        table = results.get('label_table')
        if table is None:
            label_map = results.get('label_map')
            return None if label_map is None else build_label_table(label_map)
        shape, dtype = np.shape(table), getattr(table, 'dtype', type(table))
        if shape != (256, ) or dtype != np.uint8:
            raise IncrementalConfigError(
                f'label_table has shape {shape} and type {dtype}, but a uint8 '
                'array of shape (256,) is needed: leave it out to use '
                'label_map.')
        return table
