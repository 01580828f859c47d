"""The gradient of both losses for the logits."""
import triton
import triton.language as tl

from .reading import interpolate_around, locate, read, read_around


@triton.jit
def _slope_of_entropy(values, label, at, channels, targets, maps, scale,
                      COVERS_OLD: tl.constexpr):
    """Gradient of the cross entropy of pixels, [channels, pixels]."""
    pull = tl.load(targets.factor) * tl.load(scale)
    pull = tl.where(label != targets.ignore_index, pull, 0.)
    if targets.weight is not None:
        pull *= tl.load(targets.weight + at)
    everything = tl.load(maps.everything + at)[None, :]
    slope = pull[None, :] * tl.exp(values - everything)
    label_pull = pull
    if COVERS_OLD:
        is_covered = label < targets.num_old
        label_pull = tl.where(is_covered, 0., pull)
        covered_pull = tl.where(is_covered, pull, 0.)[None, :]
        old = tl.load(maps.old + at)[None, :]
        slope -= tl.where((channels < targets.num_old)[:, None],
                          covered_pull * tl.exp(values - old), 0.)
    is_label = channels[:, None] == label[None, :]
    return slope - tl.where(is_label, label_pull[None, :], 0.)


@triton.jit
def _slope_of_distance(values, taught, at, channels, targets, maps,
                       IS_UNBIASED: tl.constexpr):
    """Gradient of the distillation of pixels without its weight."""
    is_old = (channels < targets.num_old)[:, None]
    is_background = (channels == 0)[:, None]
    taught_all = tl.load(maps.taught + at)[None, :]
    background = tl.load(maps.background + at)[None, :]
    if IS_UNBIASED:
        everything = tl.load(maps.everything + at)[None, :]
        slope = tl.exp(values - everything)
        stands_for_it = is_background | (is_old == 0)
    else:
        old = tl.load(maps.old + at)[None, :]
        slope = tl.where(is_old, tl.exp(values - old), 0.)
        stands_for_it = is_background
    slope -= tl.where(stands_for_it, tl.exp(values + background), 0.)
    is_known = is_old & (is_background == 0)
    return slope - tl.where(is_known, tl.exp(taught - taught_all), 0.)


@triton.jit
def _slope(values, taught, at, channels, teacher, targets, maps, scale,
           COVERS_OLD: tl.constexpr, IS_UNBIASED: tl.constexpr):
    """Gradient of the weighted losses of pixels, [channels, pixels]."""
    label = tl.load(targets.labels + at)
    slope = _slope_of_entropy(values, label, at, channels, targets, maps,
                              scale, COVERS_OLD)
    if teacher is not None:
        slope += tl.load(scale + 1) * targets.teacher_weight * (
            _slope_of_distance(values, taught, at, channels, targets, maps,
                               IS_UNBIASED))
    return slope


@triton.jit
def pull_gradient(gradient, student, teacher, targets, maps, scale, first_row,
                  last_row, COVERS_OLD: tl.constexpr,
                  IS_UNBIASED: tl.constexpr, IS_ALIGNED: tl.constexpr,
                  CHANNELS: tl.constexpr, PIXELS: tl.constexpr):
    """Gradient of a row of samples as wide as the labels.

    The rows of pixels that are interpolated from the samples are added up
    with their shares; they lie between these samples and those above or
    below. The gradient, [B, C, h, W], is left to be taken from pixels to
    samples along the rows. ``scale``, [2], has the factors of both losses,
    ``first_row`` and ``last_row``, [h], say which rows of pixels count.
    ``IS_ALIGNED`` is whether the teacher has as many samples.
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
    around = read_around(student, image, channels, sample,
                         locate(student, 0, columns), mask)
    if IS_ALIGNED:
        taught_around = read_around(teacher, image, channels, sample,
                                    locate(teacher, 0, columns), known)
    pulled = tl.zeros([CHANNELS, PIXELS], tl.float32)
    for row in range(tl.load(first_row + sample), tl.load(last_row + sample)):
        down = tl.load(student.rows.part + row)
        is_below = tl.load(student.rows.near + row) == sample
        at = (image * targets.height + row) * targets.width + columns
        values = interpolate_around(around, is_below, down, mask)
        taught = values
        if IS_ALIGNED:
            taught = interpolate_around(taught_around, is_below, down, known)
        elif teacher is not None:
            taught = read(teacher, image, channels,
                          locate(teacher, row, columns), known)
        slope = _slope(values, taught, at, channels, teacher, targets, maps,
                       scale, COVERS_OLD, IS_UNBIASED)
        pulled += tl.where(is_below, 1. - down, down) * slope
    out = gradient + image * student.num_channels * (
        student.height * targets.width) + sample * targets.width
    # With many classes a map as wide as the labels outgrows 32 bits.
    planes = channels.to(tl.int64) * (student.height * targets.width)
    planes = planes[:, None]
    tl.store(out + (planes + columns[None, :]), pulled, mask)
