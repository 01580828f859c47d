"""Colours and two-colour textures that know nothing of classes."""
from typing import Sequence

import cv2
import numpy as np

# Without a fixed sign of the contrast between object and background, a small
# network needs many times the iterations to learn an outline.
DARK = (0, 100)
BRIGHT = (110, 255)


def _ramp(rng: np.random.Generator, size: int) -> np.ndarray:
    """A plane that rises by 1 over a picture's side in a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    return (np.float32(np.cos(angle)) * axis[None] +
            np.float32(np.sin(angle)) * axis[:, None])


def _waves(rng: np.random.Generator, size: int) -> np.ndarray:
    """Stripes of random direction, period and phase, in [-1, 1]."""
    phase = 2 * np.pi * (rng.uniform(3, 10) * _ramp(rng, size) + rng.random())
    return np.sin(phase, dtype=np.float32)


def gradient(rng: np.random.Generator, size: int) -> np.ndarray:
    """A linear gradient."""
    return _ramp(rng, size) + 0.5


def stripes(rng: np.random.Generator, size: int) -> np.ndarray:
    """Soft parallel stripes."""
    return 0.5 + 0.5 * _waves(rng, size)


def checks(rng: np.random.Generator, size: int) -> np.ndarray:
    """Two crossing sets of stripes."""
    return 0.5 + 0.5 * _waves(rng, size) * _waves(rng, size)


def clouds(rng: np.random.Generator, size: int) -> np.ndarray:
    """Smooth noise: a coarse random grid, interpolated."""
    cells = int(rng.integers(3, 13))
    grid = rng.random((cells, cells), dtype=np.float32)
    return cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)


FIELDS = (gradient, stripes, checks, clouds)


def texture(rng: np.random.Generator, size: int, first: np.ndarray,
            second: np.ndarray) -> np.ndarray:
    """Blend two colours by a randomly chosen field.

    Args:
        rng (np.random.Generator): The source of randomness.
        size (int): Height and width in pixels.
        first (np.ndarray): RGB colour of shape (3, ), in [0, 255].
        second (np.ndarray): RGB colour of shape (3, ), in [0, 255].

    Returns:
        np.ndarray: float32 of shape (size, size, 3), in [0, 255].
    """
    field = FIELDS[rng.integers(len(FIELDS))](rng, size)
    field = np.clip(field, 0, 1)[..., None]
    return (first + field * (second - first)).astype(np.float32)


def contrasting_colour(rng: np.random.Generator,
                       used: Sequence[np.ndarray],
                       candidates: int = 8) -> np.ndarray:
    """Draw a bright colour that stands out from those in the picture.

    Args:
        rng (np.random.Generator): The source of randomness.
        used (Sequence[np.ndarray]): RGB colours of shape (3, ), in [0, 255].
        candidates (int): How many uniformly drawn colours to choose from.
            Defaults to 8.

    Returns:
        np.ndarray: The candidate farthest from its nearest used colour.
    """
    drawn = rng.uniform(*BRIGHT, (candidates, 3))
    distance = np.linalg.norm(drawn[:, None] - np.stack(used), axis=2)
    return drawn[distance.min(axis=1).argmax()]
