import math

import numpy as np
import pytest

from mmseg_incremental.evaluation import (average_iou, backward_transfer,
                                          forgetting, harmonic_mean, summarize)

NAN = np.nan
# background and cat are learned in step 0, dog in 1, cow in 2
IOU = np.array([[90., 60., NAN, NAN], [80., 70., 40., NAN],
                [85., 30., 50., 20.]])
FIRST_STEP = [0, 0, 1, 2]
NAMES = ['background', 'cat', 'dog', 'cow']


def test_forgetting_by_hand():
    np.testing.assert_array_equal(
        forgetting(IOU, FIRST_STEP), [5, 40, -10, NAN])


def test_backward_transfer_by_hand():
    np.testing.assert_array_equal(
        backward_transfer(IOU, FIRST_STEP), [-5, -30, 10, NAN])


def test_average_by_hand():
    assert average_iou(IOU) == pytest.approx((75 + 190 / 3 + 46.25) / 3)


@pytest.mark.parametrize('base, new, expected', [(60, 30, 40), (50, 50, 50),
                                                 (60, 0, 0), (0, 0, 0)])
def test_harmonic_mean(base, new, expected):
    assert harmonic_mean(base, new) == pytest.approx(expected)


@pytest.mark.parametrize('base, new', [(None, 3.), (3., None), (None, None)])
def test_harmonic_mean_undefined(base, new):
    assert harmonic_mean(base, new) is None


@pytest.mark.parametrize('seed', range(3))
def test_against_brute_force(seed):
    rng = np.random.default_rng(seed)
    num_steps, num_classes = 5, 12
    first = rng.integers(0, num_steps, num_classes)
    iou = rng.uniform(0, 100, (num_steps, num_classes))
    iou[rng.random(iou.shape) < 0.15] = NAN
    iou[np.arange(num_steps)[:, None] < first] = NAN
    for c in range(num_classes):
        earlier = [
            iou[t, c] for t in range(num_steps - 1)
            if not math.isnan(iou[t, c])
        ]
        expected = max(earlier) - iou[-1, c] if earlier else NAN
        np.testing.assert_equal(forgetting(iou, first)[c], expected)
        expected = iou[-1, c] - iou[first[c], c]
        if first[c] == num_steps - 1:
            expected = NAN
        np.testing.assert_equal(backward_transfer(iou, first)[c], expected)


def test_summarize_by_hand():
    summary = summarize(IOU, FIRST_STEP, NAMES, NAMES[:2], NAMES[2:],
                        'background')
    assert summary == dict(
        base=57.5,
        new=35.,
        all=46.25,
        all_no_bg=pytest.approx(100 / 3),
        average=pytest.approx((75 + 190 / 3 + 46.25) / 3),
        forgetting=pytest.approx(35 / 3),
        bwt=pytest.approx(-25 / 3),
        hIoU=pytest.approx(2 * 57.5 * 35 / 92.5))


def test_summarize_without_background():
    summary = summarize(IOU, FIRST_STEP, NAMES, NAMES[:2], NAMES[2:])
    assert summary['all_no_bg'] == summary['all']


def test_summarize_published_means():
    """PLOP's 15-1: 16 base classes at 65.12 and 5 new at 21.11 make 54.64."""
    iou = np.array([[65.12] * 16 + [21.11] * 5])
    names = [str(i) for i in range(21)]
    summary = summarize(iou, [0] * 21, names, names[:16], names[16:])
    assert round(summary['all'], 2) == 54.64


def test_summarize_single_step():
    """A joint run has groups, though nothing to forget."""
    summary = summarize(IOU[-1:], [0] * 4, NAMES, NAMES[:2], NAMES[2:],
                        'background')
    assert (summary['base'], summary['new']) == (57.5, 35)
    assert summary['average'] == summary['all'] == 46.25
    assert summary['forgetting'] is None and summary['bwt'] is None


def test_summarize_before_new_classes():
    summary = summarize(IOU[:1], FIRST_STEP, NAMES, NAMES[:2], NAMES[2:],
                        'background')
    assert summary['base'] == 75 and summary['all_no_bg'] == 60
    assert summary['new'] is None and summary['hIoU'] is None
