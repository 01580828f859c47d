"""The outlines of the twenty foreground classes."""
from typing import Dict, Sequence, Tuple

import numpy as np
from mmseg.utils import get_palette

Contours = Tuple[np.ndarray, ...]


def _fit(*contours: Sequence) -> Contours:
    """Centre contours and scale their longest side to 2.

    Args:
        contours (Sequence): Each of shape (N, 2), x to the right, y down.

    Returns:
        tuple[np.ndarray]: The contours as float64, inside [-1, 1].
    """
    points = [np.asarray(contour, dtype=np.float64) for contour in contours]
    low = np.min([p.min(axis=0) for p in points], axis=0)
    high = np.max([p.max(axis=0) for p in points], axis=0)
    return tuple(
        (p - (low + high) / 2) * 2 / (high - low).max() for p in points)


def _polar(radius: np.ndarray, start: float, stop: float) -> np.ndarray:
    """Points at the given radii, evenly spaced in angle (degrees)."""
    angle = np.deg2rad(np.linspace(start, stop, len(radius)))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]


def _arc(radius: float,
         start: float = 0.,
         stop: float = 360.,
         centre: Sequence[float] = (0., 0.)) -> np.ndarray:
    """49 points on a circle; y points down, so 270 degrees is the top."""
    return _polar(np.full(49, radius), start, stop) + centre


def _mirror(right: Sequence) -> np.ndarray:
    """Close a right half, listed from top to bottom, with its reflection."""
    right = np.asarray(right, dtype=np.float64)
    return np.concatenate([right, right[::-1] * (-1, 1)])


def _star() -> Contours:
    return _fit(_polar(np.tile([1., 0.42], 6)[:11], -90, 270))


def _crescent() -> Contours:
    tip = np.deg2rad(50)
    centre = 0.5
    inner = np.hypot(np.cos(tip) - centre, np.sin(tip))
    angle = np.rad2deg(np.arctan2(np.sin(tip), np.cos(tip) - centre))
    return _fit(
        np.concatenate([
            _arc(1., 50, 310),
            _arc(inner, 360 - angle, angle, (centre, 0.)),
        ]))


def _heart() -> Contours:
    t = np.linspace(0, 2 * np.pi, 97)
    x = 16 * np.sin(t)**3
    y = (13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) -
         np.cos(4 * t))
    return _fit(np.stack([x, -y], axis=1))


def _fish() -> Contours:
    body = _arc(1., 200, 520) * (1., 0.7)
    tail = [(-1.65, 0.65), (-1.4, 0.), (-1.65, -0.65)]
    return _fit(np.concatenate([body, tail]))


def _flower() -> Contours:
    angle = np.linspace(0, 2 * np.pi, 181)
    return _fit(_polar(0.66 + 0.34 * np.cos(6 * angle), 0, 360))


def _gear() -> Contours:
    teeth = _polar(np.tile([1., 1., 0.7, 0.7], 8), 0, 360 * 31 / 32)
    return _fit(teeth, _arc(0.35))


def _horseshoe() -> Contours:
    return _fit(
        np.concatenate([
            [(-1., 1.)],
            _arc(1., 180, 360),
            [(1., 1.), (0.45, 1.)],
            _arc(0.45, 360, 180),
            [(-0.45, 1.)],
        ]))


def _mushroom() -> Contours:
    cap = _arc(1., 180, 360)
    stem = [(0.3, 0.), (0.38, 0.85), (-0.38, 0.85), (-0.3, 0.)]
    return _fit(np.concatenate([cap, stem]))


GLYPHS: Dict[str, Contours] = dict(
    disc=_fit(_arc(1.)),
    square=_fit([(-1, -1), (1, -1), (1, 1), (-1, 1)]),
    triangle=_fit([(0, -1), (1, 0.75), (-1, 0.75)]),
    star=_star(),
    cross=_fit(
        _mirror([(0.32, -1), (0.32, -0.32), (1, -0.32), (1, 0.32),
                 (0.32, 0.32), (0.32, 1)])),
    ring=_fit(_arc(1.), _arc(0.55)),
    crescent=_crescent(),
    heart=_heart(),
    arrow=_fit(_mirror([(0, -1), (0.85, -0.05), (0.28, -0.05), (0.28, 1)])),
    bar=_fit([(-1, -0.3), (1, -0.3), (1, 0.3), (-1, 0.3)]),
    house=_fit(
        _mirror([(0, -1), (1, -0.15), (0.75, -0.15), (0.75, 0.95),
                 (0.25, 0.95), (0.25, 0.3)])),
    mushroom=_mushroom(),
    bolt=_fit([(0, -1), (-0.75, 0.25), (-0.12, 0.25), (-0.45, 1),
               (0.75, -0.35), (0.12, -0.35), (0.65, -1)]),
    fish=_fish(),
    hourglass=_fit(_mirror([(0.75, -1), (0.12, 0), (0.75, 1)])),
    chevron=_fit(_mirror([(0, 0.05), (1, -0.85), (1, -0.2), (0, 0.75)])),
    flower=_flower(),
    gear=_gear(),
    horseshoe=_horseshoe(),
    letter_h=_fit(
        _mirror([(0.3, -0.22), (0.3, -1), (0.85, -1), (0.85, 1), (0.3, 1),
                 (0.3, 0.22)])),
)
"""dict[str, tuple[np.ndarray]]: The contours of each class, filled by the
even-odd rule; each of shape (N, 2) in [-1, 1], x to the right, y down."""

SHAPES_CLASSES: Tuple[str, ...] = ('background', *GLYPHS)
"""tuple[str]: The class of each label."""

SHAPES_PALETTE = get_palette('voc')
"""list[list[int]]: The RGB colour of each label, those of Pascal VOC."""
