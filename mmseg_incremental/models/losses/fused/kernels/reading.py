"""Reading logits at the size of the labels, inside a kernel.

A block of pixels lies in one row, so values are [channels, pixels].
"""
from typing import NamedTuple

import triton
import triton.language as tl


class Place(NamedTuple):
    """Where pixels of one row lie between the samples.

    Args:
        upper (int): Row of samples above them.
        lower (int): Row of samples below them.
        down (float): Weight of the lower one.
        left (tl.tensor): Samples on their left, [1, pixels].
        right (tl.tensor): Samples on their right, [1, pixels].
        across (tl.tensor): Weight of the latter, [1, pixels].
    """

    upper: tl.tensor
    lower: tl.tensor
    down: tl.tensor
    left: tl.tensor
    right: tl.tensor
    across: tl.tensor


@triton.jit
def locate(source, row, columns):
    """Find the samples around some pixels of a row, as a :class:`Place`."""
    return Place(
        tl.load(source.rows.near + row), tl.load(source.rows.far + row),
        tl.load(source.rows.part + row),
        tl.load(source.columns.near + columns)[None, :],
        tl.load(source.columns.far + columns)[None, :],
        tl.load(source.columns.part + columns)[None, :])


@triton.jit
def read_samples(source, image, channels, sample, place, mask):
    """A row of samples, interpolated along the row; 0 where masked."""
    size = source.height * source.width
    logits = source.logits + image * source.num_channels * size
    logits += sample * source.width
    planes = (channels * size)[:, None]
    left = tl.load(logits + (planes + place.left), mask, 0.).to(tl.float32)
    right = tl.load(logits + (planes + place.right), mask, 0.).to(tl.float32)
    return left + place.across * (right - left)


@triton.jit
def interpolate(upper, lower, down, mask):
    """Interpolate between two rows of samples; -inf where masked."""
    return tl.where(mask, upper + down * (lower - upper), float('-inf'))


@triton.jit
def read(source, image, channels, place, mask):
    """Logits of a row of pixels; -inf where masked."""
    upper = read_samples(source, image, channels, place.upper, place, mask)
    lower = read_samples(source, image, channels, place.lower, place, mask)
    return interpolate(upper, lower, place.down, mask)


@triton.jit
def read_background(source, image, place, PIXELS: tl.constexpr):
    """The first logit of each pixel, [pixels]."""
    mask = tl.full([1, PIXELS], True, tl.int1)
    values = read(source, image, tl.arange(0, 1), place, mask)
    return tl.sum(values, 0)


@triton.jit
def read_around(source, image, channels, sample, place, mask):
    """A row of samples and both its neighbours, interpolated along it."""
    above = tl.maximum(sample - 1, 0)
    below = tl.minimum(sample + 1, source.height - 1)
    return (read_samples(source, image, channels, above, place, mask),
            read_samples(source, image, channels, sample, place, mask),
            read_samples(source, image, channels, below, place, mask))


@triton.jit
def interpolate_around(around, is_below, down, mask):
    """Logits of a row of pixels below or above the row of samples of
    :func:`read_around`; -inf where masked."""
    above, sample, below = around
    upper = tl.where(is_below, sample, above)
    lower = tl.where(is_below, below, sample)
    return interpolate(upper, lower, down, mask)
