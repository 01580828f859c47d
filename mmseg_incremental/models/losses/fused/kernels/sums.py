"""Sums over channels of exponentials, relative to the highest value."""
import triton
import triton.language as tl

from .reading import read


@triton.jit
def _accumulate(high, total, values):
    """Go on with a sum: the highest value so far, and the sum."""
    higher = tl.maximum(high, tl.max(values, 0))
    total = total * tl.exp(high - higher)
    return higher, total + tl.sum(tl.exp(values - higher[None, :]), 0)


@triton.jit
def log_add(left, right):
    """Logarithm of the sum of the exponentials of two numbers."""
    # On a GPU the higher of a number and NaN is the number: only the
    # difference keeps it.
    difference = tl.abs(left - right)
    return tl.maximum(left, right) + tl.log(1. + tl.exp(-difference))


@triton.jit
def pool(source, start, stop, image, place, label, CHANNELS: tl.constexpr,
         PIXELS: tl.constexpr):
    """Sum up the channels from ``start`` to ``stop``, [pixels] each.

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
        values = read(source, image, channels, place, mask)
        high, total = _accumulate(high, total, values)
        is_label = mask & (channels[:, None] == label[None, :])
        label_value += tl.sum(tl.where(is_label, values, 0.), 0)
    # Only an empty group has no sum: one that is no number has to stay so.
    log_total = tl.where(total == 0., float('-inf'), high + tl.log(total))
    return log_total, high, label_value


@triton.jit
def expect(student, teacher, background, image, place, teacher_place,
           CHANNELS: tl.constexpr, PIXELS: tl.constexpr):
    """Expect the student's logits under the teacher's probabilities.

    Returns, [pixels] each, the logarithm of the sum of the exponentials of
    the teacher's logits, the first of which is given, and the student's
    logits weighted with the probabilities of all other channels and summed.
    """
    high = background
    total = tl.full([PIXELS], 1., tl.float32)
    expected = tl.zeros([PIXELS], tl.float32)
    for first in range(1, teacher.num_channels, CHANNELS):
        channels = first + tl.arange(0, CHANNELS)
        is_channel = channels < teacher.num_channels
        mask = tl.broadcast_to(is_channel[:, None], [CHANNELS, PIXELS])
        taught = read(teacher, image, channels, teacher_place, mask)
        values = read(student, image, channels, place, mask)
        before = high
        high, total = _accumulate(high, total, taught)
        weighted = tl.exp(taught - high[None, :]) * tl.where(mask, values, 0.)
        expected = expected * tl.exp(before - high) + tl.sum(weighted, 0)
    return high + tl.log(total), expected / total
