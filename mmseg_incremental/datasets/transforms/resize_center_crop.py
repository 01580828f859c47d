"""The crop that the published methods are evaluated on."""
from typing import Tuple

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from .resize import check_size, resize


@TRANSFORMS.register_module()
class ResizeCenterCrop(BaseTransform):
    """Resize the short side to ``size``, then crop the center square.

    The evaluation of the published class-incremental methods, of
    `MiB <https://arxiv.org/abs/2002.00718>`_ and the code built on it: scores
    are computed on a square of ``size`` pixels and not on the original image.
    Annotations have to be loaded before this transform, in contrast to the
    test pipelines of MMSegmentation.

    Required Keys:

    - img
    - gt_seg_map (optional), and what else ``seg_fields`` names

    Modified Keys:

    - img, resized with bilinear interpolation
    - img_shape, ori_shape
    - gt_seg_map (optional), resized to the nearest label

    Added Keys:

    - pad_shape
    - scale_factor (tuple[float, float]): Of width and height, before the crop.
    - keep_ratio

    Args:
        size (int): Side of the square in pixels.

    Raises:
        IncrementalConfigError: If ``size`` is not a positive integer.
    """

    def __init__(self, size: int) -> None:
        check_size(size)
        self.size = size

    def transform(self, results: dict) -> dict:
        """Resize and crop the image and its segmentation maps.

        Args:
            results (dict): Result dict of the pipeline.

        Returns:
            dict: The same dict with the modified and added keys.
        """
        height, width = results['img'].shape[:2]
        short = min(height, width)
        # The long side is cut off and not rounded, as torchvision does: half
        # a pixel moves the crop and the labels with it.
        new_h, new_w = (self.size * side // short for side in (height, width))
        results['img'] = self._resize_crop(results['img'], (new_w, new_h),
                                           'bilinear')
        for key in results.get('seg_fields', []):
            results[key] = self._resize_crop(results[key], (new_w, new_h),
                                             'nearest')
        shape = (self.size, self.size)
        # `BaseSegmentor.postprocess_result` resizes the logits to `ori_shape`
        # and `IoUMetric` compares them with the labels, which have the size
        # of the crop. With the shape of the file in it, the two would differ.
        results.update(
            ori_shape=shape,
            img_shape=shape,
            pad_shape=shape,
            scale_factor=(new_w / width, new_h / height),
            keep_ratio=True)
        return results

    def _resize_crop(self, img: np.ndarray, scale: Tuple[int, int],
                     interpolation: str) -> np.ndarray:
        """Resize an array and crop its center.

        Args:
            img (np.ndarray): Shape (H, W) or (H, W, C).
            scale (tuple[int, int]): Width and height to resize to, both at
                least ``size``.
            interpolation (str): 'bilinear' or 'nearest'.

        Returns:
            np.ndarray: Shape (size, size) or (size, size, C).
        """
        img = resize(img, scale, interpolation)
        top, left = (round((side - self.size) / 2) for side in img.shape[:2])
        img = img[top:top + self.size, left:left + self.size]
        assert img.shape[:2] == (self.size, self.size)
        return np.ascontiguousarray(img)

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}(size={self.size})'
