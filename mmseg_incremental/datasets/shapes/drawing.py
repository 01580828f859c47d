"""One picture with its mask."""
from typing import List, Optional, Tuple

import cv2
import numpy as np

from mmseg_incremental.scenario import VOID
from .glyphs import GLYPHS, SHAPES_CLASSES, Contours
from .textures import DARK, contrasting_colour, texture

SPLITS = ('train', 'val')
SUPERSAMPLING = 4
MIN_VISIBLE = 0.5
MAX_TRIES = 20


def rasterise(rng: np.random.Generator, contours: Contours,
              size: int) -> np.ndarray:
    """Draw a glyph somewhere in an empty picture.

    The longest side is 30 % to 50 % of the picture's, the rotation within 20
    degrees, the aspect ratio within 22 %; the border may cut the glyph.

    Args:
        rng (np.random.Generator): The source of randomness.
        contours (tuple[np.ndarray]): An entry of ``GLYPHS``.
        size (int): Height and width in pixels.

    Returns:
        np.ndarray: How much of each pixel is covered, float32 of shape
        (size, size), in [0, 1].
    """
    side = size * SUPERSAMPLING
    scale = side * rng.uniform(0.3, 0.5) / 2
    stretch = np.exp(rng.uniform(-0.1, 0.1))
    angle = np.deg2rad(rng.uniform(-20, 20))
    cos, sin = np.cos(angle), np.sin(angle)
    transform = scale * np.array([[cos, sin], [-sin, cos]])
    centre = side * rng.uniform(0.15, 0.85, 2)
    points = [
        np.rint((contour * (stretch, 1 / stretch)) @ transform +
                centre).astype(np.int32) for contour in contours
    ]
    canvas = np.zeros((side, side), dtype=np.uint8)
    cv2.fillPoly(canvas, points, 255)
    coverage = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    return coverage.astype(np.float32) / 255


def place(rng: np.random.Generator, contours: Contours, instances: np.ndarray,
          areas: List[int]) -> Optional[np.ndarray]:
    """Find a place where a glyph hides at most half of any earlier one.

    Args:
        rng (np.random.Generator): The source of randomness.
        contours (tuple[np.ndarray]): An entry of ``GLYPHS``.
        instances (np.ndarray): uint8 of shape (size, size): 0 where nothing
            was drawn yet, else the number of the object seen there.
        areas (list[int]): The pixels of objects 1, 2, ... before occlusion.

    Returns:
        np.ndarray, optional: The coverage, see :func:`rasterise`; None where
        no place was found.
    """
    for _ in range(MAX_TRIES):
        coverage = rasterise(rng, contours, len(instances))
        uncovered = instances[coverage < 0.5]
        visible = np.bincount(uncovered, minlength=len(areas) + 1)[1:]
        if (visible >= MIN_VISIBLE * np.array(areas)).all():
            return coverage
    return None


def draw_picture(seed: int, split: str, index: int,
                 size: int) -> Tuple[np.ndarray, np.ndarray]:
    """Draw picture ``index`` of a split.

    Two to five bright objects of different classes on a dark background, all
    classes alike in number, colour and texture, so that only the outline
    tells them apart. Later objects occlude earlier ones. As in Pascal VOC, a
    contour around every object is void; it is one pixel wide and lies
    outside the object.

    Args:
        seed (int): The seed of the data set, 0 or more.
        split (str): 'train' or 'val'.
        index (int): The number of the picture in its split, 0 or more.
        size (int): Height and width in pixels.

    Returns:
        tuple[np.ndarray, np.ndarray]: The RGB picture, uint8 of shape
        (size, size, 3), and its mask, uint8 of shape (size, size): 0 for
        background, 1 to 20 for the classes, 255 for void. Both depend on
        the arguments only, not on what was drawn before.
    """
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    colours = list(rng.uniform(*DARK, (2, 3)))
    image = texture(rng, size, *colours)
    instances = np.zeros((size, size), dtype=np.uint8)
    labels: List[int] = [0]
    areas: List[int] = []
    foreground = np.arange(1, len(SHAPES_CLASSES))
    for label in rng.choice(foreground, rng.integers(2, 6), replace=False):
        contours = GLYPHS[SHAPES_CLASSES[label]]
        coverage = place(rng, contours, instances, areas)
        if coverage is None:
            continue
        colours.append(contrasting_colour(rng, colours))
        shade = np.clip(colours[-1] + rng.uniform(-40, 40), 0, 255)
        fill = texture(rng, size, colours[-1], shade)
        image += coverage[..., None] * (fill - image)
        inside = coverage >= 0.5
        instances[inside] = len(labels)
        labels.append(int(label))
        areas.append(int(inside.sum()))
    mask = np.array(labels, dtype=np.uint8)[instances]
    # A later object has the higher number, so dilation reaches from it into
    # what it lies on and leaves its own pixels as they are.
    neighbours = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    mask[cv2.dilate(instances, neighbours) != instances] = VOID
    return np.rint(image).astype(np.uint8), mask
