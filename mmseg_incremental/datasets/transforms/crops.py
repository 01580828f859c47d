"""The crops of the published methods, for training and for evaluation."""
import math
from typing import Sequence, Tuple, Union

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmseg.registry import TRANSFORMS

from mmseg_incremental.errors import IncrementalConfigError


def _check_size(size: object) -> None:
    """Refuse a size that is not a positive integer."""
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise IncrementalConfigError(
            f'size is {size!r}, but positive integers in pixels are needed.')


def _check_range(name: str, bounds: Sequence[float]) -> None:
    """Refuse bounds that are not two positive numbers in order."""
    if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1]:
        raise IncrementalConfigError(
            f'{name} is {tuple(bounds)}, but two positive numbers, the lower '
            'one first, are needed.')


def _resize(img: np.ndarray, scale: Tuple[int, int],
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


@TRANSFORMS.register_module()
class AreaRandomResizedCrop(BaseTransform):
    """Crop a random share of the area at a random ratio, then resize.

    The augmentation of `MiB <https://arxiv.org/abs/2002.00718>`_ and of the
    methods built on its code, ``torchvision.transforms.RandomResizedCrop``
    with the default ``ratio``: area share and logarithm of the ratio are drawn
    uniformly until the crop fits into the image. After ``max_attempts``
    failures the crop is the largest one in the center of the image with an
    allowed ratio.

    transform(): _sample_crop() -> _resize()

    Required Keys:

    - img
    - gt_seg_map (optional), and what else ``seg_fields`` names

    Modified Keys:

    - img, resized with bilinear interpolation
    - img_shape
    - gt_seg_map (optional), resized to the nearest label

    Args:
        size (int | Sequence[int]): Height and width of the output in pixels.
            One number stands for both. Note the order, which is torchvision's
            and not the (w, h) of MMCV's ``scale``.
        scale (Sequence[float]): Lowest and highest share of the area. Shares
            above 1 never fit and make the fallback crop more frequent.
            Defaults to (0.5, 2.0), as MiB.
        ratio (Sequence[float]): Lowest and highest width / height of the crop.
            Defaults to (3 / 4, 4 / 3).
        max_attempts (int): Number of draws before the center crop is used.
            Defaults to 10.

    Raises:
        IncrementalConfigError: If an argument is out of its range.
    """

    def __init__(self,
                 size: Union[int, Sequence[int]],
                 scale: Sequence[float] = (0.5, 2.0),
                 ratio: Sequence[float] = (3 / 4, 4 / 3),
                 max_attempts: int = 10) -> None:
        sides = (size, size) if isinstance(size, int) else tuple(size)
        if len(sides) != 2:
            raise IncrementalConfigError(
                f'size is {size!r}, but one integer or (height, width) is '
                'needed.')
        for side in sides:
            _check_size(side)
        _check_range('scale', scale)
        _check_range('ratio', ratio)
        if max_attempts < 0:
            raise IncrementalConfigError(
                f'max_attempts is {max_attempts}, but 0 or more draws are '
                'needed.')
        self.size = sides
        self.scale = tuple(scale)
        self.ratio = tuple(ratio)
        self.max_attempts = max_attempts

    @cache_randomness
    def _sample_crop(self, height: int,
                     width: int) -> Tuple[int, int, int, int]:
        """Draw the crop.

        Args:
            height (int): Height of the image in pixels.
            width (int): Width of the image in pixels.

        Returns:
            tuple[int, int, int, int]: Top, left, height and width in pixels.
        """
        for _ in range(self.max_attempts):
            area = height * width * np.random.uniform(*self.scale)
            ratio = math.exp(np.random.uniform(*np.log(self.ratio)))
            crop_h = round(math.sqrt(area / ratio))
            crop_w = round(math.sqrt(area * ratio))
            if 0 < crop_h <= height and 0 < crop_w <= width:
                top = np.random.randint(height - crop_h + 1)
                left = np.random.randint(width - crop_w + 1)
                return top, left, crop_h, crop_w
        return self._center_crop(height, width)

    def _center_crop(self, height: int,
                     width: int) -> Tuple[int, int, int, int]:
        """Get the largest crop in the center that has an allowed ratio.

        Args:
            height (int): Height of the image in pixels.
            width (int): Width of the image in pixels.

        Returns:
            tuple[int, int, int, int]: Top, left, height and width in pixels.
        """
        low, high = self.ratio
        crop_h = min(height, max(1, round(width / low)))
        crop_w = min(width, max(1, round(height * high)))
        return (height - crop_h) // 2, (width - crop_w) // 2, crop_h, crop_w

    def transform(self, results: dict) -> dict:
        """Crop and resize the image and its segmentation maps.

        Args:
            results (dict): Result dict of the pipeline.

        Returns:
            dict: The same dict with the modified keys.
        """
        top, left, crop_h, crop_w = self._sample_crop(
            *results['img'].shape[:2])
        rows, columns = slice(top, top + crop_h), slice(left, left + crop_w)
        scale = self.size[::-1]
        results['img'] = _resize(results['img'][rows, columns], scale,
                                 'bilinear')
        results['img_shape'] = results['img'].shape[:2]
        for key in results.get('seg_fields', []):
            results[key] = _resize(results[key][rows, columns], scale,
                                   'nearest')
        return results

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}(size={self.size}, '
                f'scale={self.scale}, ratio={self.ratio}, '
                f'max_attempts={self.max_attempts})')


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
        _check_size(size)
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
        img = _resize(img, scale, interpolation)
        top, left = (round((side - self.size) / 2) for side in img.shape[:2])
        img = img[top:top + self.size, left:left + self.size]
        assert img.shape[:2] == (self.size, self.size)
        return np.ascontiguousarray(img)

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}(size={self.size})'
