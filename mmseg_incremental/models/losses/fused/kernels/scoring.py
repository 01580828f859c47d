"""Both losses of the pixels."""
import triton
import triton.language as tl

from .reading import locate, read_background
from .sums import expect, log_add, pool


@triton.jit
def _score_label(label, logit, old, everything, targets, at,
                 COVERS_OLD: tl.constexpr):
    """Weighted cross entropy of pixels, [pixels]."""
    if COVERS_OLD:
        logit = tl.where(label < targets.num_old, old, logit)
    entropy = (everything - logit) * tl.load(targets.factor)
    if targets.weight is not None:
        entropy *= tl.load(targets.weight + at)
    return tl.where(label != targets.ignore_index, entropy, 0.)


@triton.jit
def _score_teacher(student, teacher, background, old, new, everything, image,
                   row, columns, place, IS_UNBIASED: tl.constexpr,
                   CHANNELS: tl.constexpr, PIXELS: tl.constexpr):
    """Distillation of pixels without its weight, and what ``PixelMaps`` says
    of the teacher, [pixels] each."""
    teacher_place = locate(teacher, row, columns)
    taught_background = read_background(teacher, image, teacher_place, PIXELS)
    taught, expected = expect(student, teacher, taught_background, image,
                              place, teacher_place, CHANNELS, PIXELS)
    support, covering = old, background
    if IS_UNBIASED:
        support, covering = everything, log_add(background, new)
    log_prob = taught_background - taught
    distance = support - tl.exp(log_prob) * covering - expected
    return distance, taught, log_prob - covering


@triton.jit
def score_pixels(student, teacher, targets, maps, is_highest, sums,
                 COVERS_OLD: tl.constexpr, IS_UNBIASED: tl.constexpr,
                 CHANNELS: tl.constexpr, PIXELS: tl.constexpr):
    """Score a block of pixels of one row.

    The grid is [blocks, H, B]. ``maps`` and ``is_highest``, bool [B, H, W],
    are filled in, ``sums``, [B, H, blocks, 2], gets both losses.
    """
    block, row = tl.program_id(0), tl.program_id(1)
    image = tl.program_id(2).to(tl.int64)
    columns = block * PIXELS + tl.arange(0, PIXELS)
    is_pixel = columns < targets.width
    columns = tl.minimum(columns, targets.width - 1)
    at = (image * targets.height + row) * targets.width + columns
    program = (image * targets.height + row) * tl.num_programs(0) + block
    label = tl.load(targets.labels + at)
    place = locate(student, row, columns)
    background = read_background(student, image, place, PIXELS)
    old, old_high, old_value = pool(student, 1, targets.num_old, image, place,
                                    label, CHANNELS, PIXELS)
    new, new_high, new_value = pool(student, targets.num_old,
                                    student.num_channels, image, place, label,
                                    CHANNELS, PIXELS)
    old = log_add(background, old)
    everything = log_add(old, new)
    tl.store(maps.everything + at, everything, is_pixel)
    tl.store(maps.old + at, old, is_pixel)
    logit = old_value + new_value + tl.where(label == 0, background, 0.)
    highest = tl.maximum(background, tl.maximum(old_high, new_high))
    is_right = (label != targets.ignore_index) & (logit >= highest)
    tl.store(is_highest + at, is_right, is_pixel)
    entropy = _score_label(label, logit, old, everything, targets, at,
                           COVERS_OLD)
    tl.store(sums + 2 * program, tl.sum(tl.where(is_pixel, entropy, 0.), 0))
    if teacher is not None:
        distance, taught, taught_background = _score_teacher(
            student, teacher, background, old, new, everything, image, row,
            columns, place, IS_UNBIASED, CHANNELS, PIXELS)
        tl.store(maps.taught + at, taught, is_pixel)
        tl.store(maps.background + at, taught_background, is_pixel)
        distance = tl.where(is_pixel, distance, 0.) * targets.teacher_weight
        tl.store(sums + 2 * program + 1, tl.sum(distance, 0))
