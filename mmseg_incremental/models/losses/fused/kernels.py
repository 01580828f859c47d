"""Triton kernels of the fused losses, for CUDA.

The first one takes a block of pixels and goes over the channels, the second
one takes a row of samples of the logits and goes over the pixels that are
interpolated from them. Both upsample what they need from the logits as they
are, so nothing of label size has channels. Every sum has one order: there is
no atomic addition.
"""
from typing import NamedTuple, Optional

import triton
import triton.language as tl
from torch import Tensor


class Axis(NamedTuple):
    """Interpolation along one direction, at each pixel.

    Args:
        near (Tensor): Position of the first sample, int32.
        far (Tensor): Position of the second one, int32.
        part (Tensor): Weight of the second one.
    """

    near: Tensor
    far: Tensor
    part: Tensor


class Source(NamedTuple):
    """Output of a head, and how it is read at the size of the labels.

    Args:
        logits (Tensor): Contiguous, [B, C, h, w].
        num_channels (int): C.
        height (int): h.
        width (int): w.
        rows (Axis): From h to H.
        columns (Axis): From w to W.
    """

    logits: Tensor
    num_channels: int
    height: int
    width: int
    rows: Axis
    columns: Axis


class Targets(NamedTuple):
    """What the logits are compared with, beside the teacher.

    Args:
        labels (Tensor): Channels or ``ignore_index``, [B, H, W].
        weight (Tensor, optional): Of each pixel's cross entropy, [B, H, W].
        factor (Tensor): Weight of all of them, a scalar.
        height (int): H.
        width (int): W.
        num_pixels (int): B * H * W.
        ignore_index (int): Label that has no cross entropy.
        num_old (int): O.
        teacher_weight (float): Weight of each pixel's distillation.
    """

    labels: Tensor
    weight: Optional[Tensor]
    factor: Tensor
    height: int
    width: int
    num_pixels: int
    ignore_index: int
    num_old: int
    teacher_weight: float


@triton.jit
def _place(source, row, columns):
    """Where a row of pixels lies between the samples."""
    return (tl.load(source.rows.near + row), tl.load(source.rows.far + row),
            tl.load(source.rows.part + row),
            tl.load(source.columns.near + columns)[None, :],
            tl.load(source.columns.far + columns)[None, :],
            tl.load(source.columns.part + columns)[None, :])


@triton.jit
def _read_samples(source, image, channels, sample, place, mask):
    """A row of samples, interpolated along the row, [channels, pixels]."""
    size = source.height * source.width
    logits = source.logits + image * source.num_channels * size
    logits += sample * source.width
    planes = (channels * size)[:, None]
    left = tl.load(logits + (planes + place[3]), mask, 0.).to(tl.float32)
    right = tl.load(logits + (planes + place[4]), mask, 0.).to(tl.float32)
    return left + place[5] * (right - left)


@triton.jit
def _between(upper, lower, part, mask):
    """Interpolate between two rows of samples; -inf where masked."""
    return tl.where(mask, upper + part * (lower - upper), float('-inf'))


@triton.jit
def _read(source, image, channels, place, mask):
    """Logits of a row of pixels, [channels, pixels]; -inf where masked."""
    upper = _read_samples(source, image, channels, place[0], place, mask)
    lower = _read_samples(source, image, channels, place[1], place, mask)
    return _between(upper, lower, place[2], mask)


@triton.jit
def _accumulate(high, total, values):
    """Go on with a sum of exponentials, relative to the highest value."""
    higher = tl.maximum(high, tl.max(values, 0))
    total = total * tl.exp(high - higher)
    return higher, total + tl.sum(tl.exp(values - higher[None, :]), 0)


@triton.jit
def _log_add(left, right):
    """Logarithm of the sum of the exponentials of two numbers."""
    high, low = tl.maximum(left, right), tl.minimum(left, right)
    return high + tl.log(1. + tl.exp(low - high))


@triton.jit
def _pool(source, start, stop, image, place, label, CHANNELS: tl.constexpr,
          PIXELS: tl.constexpr):
    """Sum up some channels.

    Returns the logarithm of the sum of their exponentials, the highest value
    and that of the label, or 0 if it is not among them.
    """
    # Not -inf, which is nothing to subtract from itself.
    high = tl.full([PIXELS], -1e30, tl.float32)
    total = tl.zeros([PIXELS], tl.float32)
    label_value = tl.zeros([PIXELS], tl.float32)
    for first in range(start, stop, CHANNELS):
        channels = first + tl.arange(0, CHANNELS)
        mask = tl.broadcast_to((channels < stop)[:, None], [CHANNELS, PIXELS])
        values = _read(source, image, channels, place, mask)
        high, total = _accumulate(high, total, values)
        is_label = mask & (channels[:, None] == label[None, :])
        label_value += tl.sum(tl.where(is_label, values, 0.), 0)
    # Only an empty group has no sum: one that is no number has to stay so.
    log_total = tl.where(total == 0., float('-inf'), high + tl.log(total))
    return log_total, high, label_value


@triton.jit
def _compare(student, teacher, background, image, place, teacher_place,
             CHANNELS: tl.constexpr, PIXELS: tl.constexpr):
    """Expect the student's logits under the teacher's probabilities.

    Returns the logarithm of the sum of the exponentials of the teacher's
    logits, the first of which is given, and the student's logits weighted
    with the probabilities of all other channels and summed.
    """
    high = background
    total = tl.full([PIXELS], 1., tl.float32)
    expected = tl.zeros([PIXELS], tl.float32)
    for first in range(1, teacher.num_channels, CHANNELS):
        channels = first + tl.arange(0, CHANNELS)
        is_channel = channels < teacher.num_channels
        mask = tl.broadcast_to(is_channel[:, None], [CHANNELS, PIXELS])
        taught = _read(teacher, image, channels, teacher_place, mask)
        values = _read(student, image, channels, place, mask)
        before = high
        high, total = _accumulate(high, total, taught)
        weighted = tl.exp(taught - high[None, :]) * tl.where(mask, values, 0.)
        expected = expected * tl.exp(before - high) + tl.sum(weighted, 0)
    return high + tl.log(total), expected / total


@triton.jit
def _first(source, image, place, PIXELS: tl.constexpr):
    """The logit of the background."""
    mask = tl.full([1, PIXELS], True, tl.int1)
    values = _read(source, image, tl.arange(0, 1), place, mask)
    return tl.sum(values, 0)


@triton.jit
def score_pixels(student, teacher, targets, maps, is_highest, sums,
                 COVERS_OLD: tl.constexpr, IS_UNBIASED: tl.constexpr,
                 CHANNELS: tl.constexpr, PIXELS: tl.constexpr):
    """Both losses of a block of pixels, and what their gradient needs.

    ``maps`` gets, a pixel each, the logarithms of the sums of exponentials of
    all channels and of the old ones, and with a teacher that of its channels
    and its log probability of the background less the student's logarithm of
    what stands for that.
    """
    block, row = tl.program_id(0), tl.program_id(1)
    image = tl.program_id(2).to(tl.int64)
    columns = block * PIXELS + tl.arange(0, PIXELS)
    is_pixel = columns < targets.width
    columns = tl.minimum(columns, targets.width - 1)
    origin = (image * targets.height + row) * targets.width
    label = tl.load(targets.labels + origin + columns)
    place = _place(student, row, columns)
    background = _first(student, image, place, PIXELS)
    old, old_high, old_value = _pool(student, 1, targets.num_old, image, place,
                                     label, CHANNELS, PIXELS)
    new, new_high, new_value = _pool(student, targets.num_old,
                                     student.num_channels, image, place, label,
                                     CHANNELS, PIXELS)
    old = _log_add(background, old)
    everything = _log_add(old, new)
    label_logit = old_value + new_value + tl.where(label == 0, background, 0.)
    is_labelled = is_pixel & (label != targets.ignore_index)
    highest = tl.maximum(background, tl.maximum(old_high, new_high))
    tl.store(is_highest + origin + columns,
             is_labelled & (label_logit >= highest), is_pixel)
    tl.store(maps + origin + columns, everything, is_pixel)
    tl.store(maps + targets.num_pixels + origin + columns, old, is_pixel)
    target = label_logit
    if COVERS_OLD:
        target = tl.where(label < targets.num_old, old, label_logit)
    entropy = (everything - target) * tl.load(targets.factor)
    if targets.weight is not None:
        entropy *= tl.load(targets.weight + origin + columns)
    program = (image * targets.height + row) * tl.num_programs(0) + block
    tl.store(sums + 2 * program, tl.sum(tl.where(is_labelled, entropy, 0.), 0))
    if teacher is not None:
        teacher_place = _place(teacher, row, columns)
        taught = _first(teacher, image, teacher_place, PIXELS)
        taught_all, expected = _compare(student, teacher, taught, image, place,
                                        teacher_place, CHANNELS, PIXELS)
        support, covering = old, background
        if IS_UNBIASED:
            support, covering = everything, _log_add(background, new)
        log_prob = taught - taught_all
        distance = support - tl.exp(log_prob) * covering - expected
        distance = tl.where(is_pixel, distance, 0.) * targets.teacher_weight
        maps += 2 * tl.cast(targets.num_pixels, tl.int64)
        tl.store(maps + origin + columns, taught_all, is_pixel)
        tl.store(maps + targets.num_pixels + origin + columns,
                 log_prob - covering, is_pixel)
        tl.store(sums + 2 * program + 1, tl.sum(distance, 0))


@triton.jit
def _slope_of_entropy(values, label, origin, columns, channels, targets, maps,
                      scale, COVERS_OLD: tl.constexpr):
    """Gradient of the cross entropy of pixels, [channels, pixels]."""
    pull = tl.load(targets.factor) * tl.load(scale)
    pull = tl.where(label != targets.ignore_index, pull, 0.)
    if targets.weight is not None:
        pull *= tl.load(targets.weight + origin + columns)
    everything = tl.load(maps + origin + columns)[None, :]
    slope = pull[None, :] * tl.exp(values - everything)
    label_pull = pull
    if COVERS_OLD:
        is_covered = label < targets.num_old
        label_pull = tl.where(is_covered, 0., pull)
        covered_pull = tl.where(is_covered, pull, 0.)[None, :]
        old = tl.load(maps + targets.num_pixels + origin + columns)[None, :]
        slope -= tl.where((channels < targets.num_old)[:, None],
                          covered_pull * tl.exp(values - old), 0.)
    is_label = channels[:, None] == label[None, :]
    return slope - tl.where(is_label, label_pull[None, :], 0.)


@triton.jit
def _slope_of_distance(values, taught, origin, columns, channels, targets,
                       maps, IS_UNBIASED: tl.constexpr):
    """Gradient of the distillation of pixels, without its weight."""
    is_old = (channels < targets.num_old)[:, None]
    is_background = (channels == 0)[:, None]
    num_pixels = tl.cast(targets.num_pixels, tl.int64)
    taught_all = tl.load(maps + 2 * num_pixels + origin + columns)[None, :]
    background = tl.load(maps + 3 * num_pixels + origin + columns)[None, :]
    if IS_UNBIASED:
        everything = tl.load(maps + origin + columns)[None, :]
        slope = tl.exp(values - everything)
        stands_for_it = is_background | (is_old == 0)
    else:
        old = tl.load(maps + num_pixels + origin + columns)[None, :]
        slope = tl.where(is_old, tl.exp(values - old), 0.)
        stands_for_it = is_background
    slope -= tl.where(stands_for_it, tl.exp(values + background), 0.)
    is_known = is_old & (is_background == 0)
    return slope - tl.where(is_known, tl.exp(taught - taught_all), 0.)


@triton.jit
def _read_around(source, image, channels, sample, place, mask):
    """A row of samples and its neighbours, interpolated along the row."""
    above = tl.maximum(sample - 1, 0)
    below = tl.minimum(sample + 1, source.height - 1)
    return (_read_samples(source, image, channels, above, place, mask),
            _read_samples(source, image, channels, sample, place, mask),
            _read_samples(source, image, channels, below, place, mask))


@triton.jit
def _at_row(around, is_below, part, mask):
    """Logits of a row of pixels below or above a row of samples."""
    upper = tl.where(is_below, around[1], around[0])
    lower = tl.where(is_below, around[2], around[1])
    return _between(upper, lower, part, mask)


@triton.jit
def pull_gradient(gradient, student, teacher, targets, maps, scale, first_row,
                  last_row, COVERS_OLD: tl.constexpr,
                  IS_UNBIASED: tl.constexpr, IS_ALIGNED: tl.constexpr,
                  CHANNELS: tl.constexpr, PIXELS: tl.constexpr):
    """Gradient of a row of samples as wide as the labels.

    The rows of pixels that are interpolated from the samples are added up
    with their shares; they lie between these samples and those above or
    below. The gradient, [B, C, h, W], is left to be taken from pixels to
    samples along the rows.
    """
    # The other directions of a grid are too short for many samples.
    num_blocks = tl.cdiv(student.num_channels, CHANNELS)
    sample = tl.program_id(0) // num_blocks
    block = tl.program_id(0) % num_blocks
    image = tl.program_id(2).to(tl.int64)
    channels = block * CHANNELS + tl.arange(0, CHANNELS)
    columns = tl.program_id(1) * PIXELS + tl.arange(0, PIXELS)
    mask = ((channels < student.num_channels)[:, None] &
            (columns < targets.width)[None, :])
    known = mask & (channels < targets.num_old)[:, None]
    columns = tl.minimum(columns, targets.width - 1)
    around = _read_around(student, image, channels, sample,
                          _place(student, 0, columns), mask)
    if IS_ALIGNED:
        taught_around = _read_around(teacher, image, channels, sample,
                                     _place(teacher, 0, columns), known)
    pulled = tl.zeros([CHANNELS, PIXELS], tl.float32)
    for row in range(tl.load(first_row + sample), tl.load(last_row + sample)):
        part = tl.load(student.rows.part + row)
        is_below = tl.load(student.rows.near + row) == sample
        origin = (image * targets.height + row) * targets.width
        label = tl.load(targets.labels + origin + columns)
        values = _at_row(around, is_below, part, mask)
        slope = _slope_of_entropy(values, label, origin, columns, channels,
                                  targets, maps, scale, COVERS_OLD)
        if teacher is not None:
            if IS_ALIGNED:
                taught = _at_row(taught_around, is_below, part, known)
            else:
                taught = _read(teacher, image, channels,
                               _place(teacher, row, columns), known)
            slope += tl.load(scale + 1) * targets.teacher_weight * (
                _slope_of_distance(values, taught, origin, columns, channels,
                                   targets, maps, IS_UNBIASED))
        pulled += tl.where(is_below, 1. - part, part) * slope
    out = gradient + image * student.num_channels * (
        student.height * targets.width) + sample * targets.width
    planes = (channels * (student.height * targets.width))[:, None]
    tl.store(out + (planes + columns[None, :]), pulled, mask)
