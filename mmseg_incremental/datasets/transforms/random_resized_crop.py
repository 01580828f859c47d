"""The crop that the published methods train on."""
import math
from typing import Sequence, Tuple, Union

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmseg.registry import TRANSFORMS

from mmseg_incremental.errors import IncrementalConfigError
from .resize import check_size, resize


def _check_range(name: str, bounds: Sequence[float]) -> None:
    """Refuse bounds that are not two positive numbers in order."""
    if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1]:
        raise IncrementalConfigError(
            f'{name} is {tuple(bounds)}, but two positive numbers, the lower '
            'one first, are needed.')


@TRANSFORMS.register_module()
class AreaRandomResizedCrop(BaseTransform):
    """Crop a random share of the area at a random ratio, then resize.

    The augmentation of `MiB <https://arxiv.org/abs/2002.00718>`_ and of the
    methods built on its code, ``torchvision.transforms.RandomResizedCrop``
    with the default ``ratio``: area share and logarithm of the ratio are drawn
    uniformly until the crop fits into the image. After ``max_attempts``
    failures the crop is the largest one in the center of the image with an
    allowed ratio.

    transform(): _sample_crop() -> resize()

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
            check_size(side)
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
        results['img'] = resize(results['img'][rows, columns], scale,
                                'bilinear')
        results['img_shape'] = results['img'].shape[:2]
        for key in results.get('seg_fields', []):
            results[key] = resize(results[key][rows, columns], scale,
                                  'nearest')
        return results

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}(size={self.size}, '
                f'scale={self.scale}, ratio={self.ratio}, '
                f'max_attempts={self.max_attempts})')
