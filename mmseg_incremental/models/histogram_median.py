"""What PLOP takes for the median of a histogram over [0, 1]."""
import math
from typing import Sequence


def median_of_histogram(counts: Sequence[int]) -> float:
    """Median of a histogram, linear inside the bin.

    Args:
        counts (Sequence[int]): Number of values in each of equal bins.

    Returns:
        float: In [0, 1]; 0 if there is no value.
    """
    half, total = sum(counts) / 2, 0
    for index, count in enumerate(counts):
        if count and total + count >= half:
            return (index + (half - total) / count) / len(counts)
        total += count
    return 0.0


def median_of_the_official_code(counts: Sequence[int]) -> float:
    """What the official code takes for the median of a histogram.

    Its running sum adds up the numbers of the bins and not what is in them.

    Args:
        counts (Sequence[int]): Number of values in each of equal bins.

    Returns:
        float: 0 if there is no value. NaN, which no entropy is below, or an
        infinity, where the official code divides by an empty bin.
    """
    half, total = sum(counts) / 2, 0
    if not half:
        return 0.0
    for index, count in enumerate(counts):
        if total <= half <= total + count:
            break
        total += index
    rest = half - total
    if not count:
        return math.copysign(math.inf, rest) if rest else math.nan
    return (index + rest / count) / len(counts)
