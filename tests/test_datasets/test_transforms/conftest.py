from typing import Callable

import numpy as np
import pytest


@pytest.fixture
def picture() -> Callable[..., dict]:
    """An image whose first channel equals its segmentation map."""

    def build(height: int, width: int, seed: int = 0) -> dict:
        rng = np.random.RandomState(seed)
        img = rng.randint(0, 256, (height, width, 3), dtype=np.uint8)
        return dict(
            img=img,
            gt_seg_map=img[..., 0].copy(),
            seg_fields=['gt_seg_map'],
            img_shape=(height, width),
            ori_shape=(height, width))

    return build
