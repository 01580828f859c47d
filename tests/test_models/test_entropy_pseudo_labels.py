import json
import math
import re
import runpy
from pathlib import Path
from typing import Optional

import pytest
import torch
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models import BaseLabelCompleter, EntropyPseudoLabels
from mmseg_incremental.models.entropy_pseudo_labels import NUM_BINS

TOGETHER = Path(__file__).parents[1] / 'together.py'
VOID = 255
MODES = ['official', 'paper']


def draw_logits(batch: int,
                num_old: int,
                size: int = 8,
                seed: int = 0,
                scale: float = 3.,
                width: Optional[int] = None) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn((batch, num_old, size, width or size),
                               dtype=torch.float64,
                               generator=generator)


def draw_labels(batch: int,
                num_seen: int,
                size: int = 8,
                seed: int = 1,
                width: Optional[int] = None) -> Tensor:
    """Labels of all seen classes, two in three background, and some void."""
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, size, width or size)
    labels = torch.randint(num_seen, shape, generator=generator)
    labels[torch.rand(shape, generator=generator) < .6] = 0
    labels[:, -1, ::3] = VOID
    return labels


def slow_softmax(logits: list) -> list:
    exps = [math.exp(logit) for logit in logits]
    return [e / sum(exps) for e in exps]


def slow_entropy(prob: list, num_seen: int, mode: str) -> float:
    num_old = len(prob)
    entropy = -sum(p * math.log(p) for p in prob)
    if num_old > 1:
        entropy /= math.log(num_old)
    if mode == 'official':
        # The mean over classes, once more divided by a logarithm.
        entropy = entropy / num_old / math.log(num_seen)
    return entropy


def slow_paper_median(counts: list) -> float:
    """Where the cumulative histogram, linear in a bin, reaches one half."""
    half, below = sum(counts) / 2, 0
    for index, count in enumerate(counts):
        if below < half <= below + count:
            return (index + (half - below) / count) / len(counts)
        below += count
    return 0.


def slow_official_median(counts: list) -> float:
    """The sum runs over the numbers of the bins, not over their contents."""
    half, running = sum(counts) / 2, 0
    if half == 0:
        return 0.
    for index, count in enumerate(counts):
        if running <= half <= running + count:
            if count == 0:
                return math.nan  # 0 / 0, and nothing is below it.
            return (index + (half - running) / count) / len(counts)
        running += index
    # It divides by the last bin, which is empty.
    return math.inf if half > running else -math.inf


SLOW_MEDIAN = dict(official=slow_official_median, paper=slow_paper_median)


def slow_thresholds(labels: Tensor, logits: Tensor, num_seen: int,
                    mode: str) -> list:
    num_old, bins = logits.size(1), NUM_BINS[mode]
    counts = [[0] * bins for _ in range(num_old)]
    for b, h, w in torch.cartesian_prod(*map(torch.arange, labels.shape)):
        if labels[b, h, w] != 0:
            continue
        prob = slow_softmax(logits[b, :, h, w].tolist())
        index = int(slow_entropy(prob, num_seen, mode) * bins)
        counts[prob.index(max(prob))][min(index, bins - 1)] += 1
    return [SLOW_MEDIAN[mode](row) for row in counts]


def slow_complete(labels: Tensor, logits: Tensor, thresholds: list,
                  num_seen: int, mode: str) -> tuple:
    """Completed labels, and the accepted share of each image."""
    num_old = logits.size(1)
    completed, shares = labels.tolist(), []
    for b in range(len(labels)):
        accepted = candidates = 0
        for h in range(labels.size(1)):
            for w in range(labels.size(2)):
                if labels[b, h, w] >= num_old:
                    continue
                candidates += 1
                prob = slow_softmax(logits[b, :, h, w].tolist())
                predicted = prob.index(max(prob))
                entropy = slow_entropy(prob, num_seen, mode)
                if entropy < thresholds[predicted]:
                    accepted += 1
                    completed[b][h][w] = predicted
                else:
                    completed[b][h][w] = VOID
        shares.append(accepted / (candidates + 1e-6))
    return completed, shares


def observed(completer: EntropyPseudoLabels, *batches:
             tuple) -> EntropyPseudoLabels:
    for batch in batches:
        completer.observe(*batch)
    completer.finish()
    return completer


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('num_old, num_seen', [(2, 3), (5, 6), (16, 21),
                                               (4, 4)])
def test_entropy(num_old, num_seen, mode):
    completer = EntropyPseudoLabels(num_seen, mode)
    logits = draw_logits(2, num_old, size=3)
    entropy = completer.entropy(logits.softmax(dim=1))
    assert entropy.shape == (2, 3, 3)
    for b, h, w in ((0, 0, 0), (1, 2, 1), (1, 1, 2)):
        expected = slow_entropy(
            slow_softmax(logits[b, :, h, w].tolist()), num_seen, mode)
        assert entropy[b, h, w].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize('mode', MODES)
def test_bounds_of_entropy(mode):
    completer = EntropyPseudoLabels(6, mode)
    uniform = torch.full((1, 5, 1, 1), .2)
    sure = torch.eye(5)[0].view(1, 5, 1, 1)
    highest = 1 if mode == 'paper' else 1 / (5 * math.log(6))
    assert completer.entropy(uniform).item() == pytest.approx(highest)
    assert completer.entropy(sure).item() == 0


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('num_old, num_seen, width', [(2, 3, 8), (5, 6, 5),
                                                      (4, 7, 11)])
def test_thresholds_and_labels_equal_formula(num_old, num_seen, width, mode):
    completer = EntropyPseudoLabels(num_seen, mode)
    batches = [(draw_labels(2, num_seen, seed=seed, width=width),
                draw_logits(2, num_old, seed=seed, width=width))
               for seed in range(2)]
    observed(completer, *batches)
    labels, logits = (torch.cat(parts) for parts in zip(*batches))
    expected = slow_thresholds(labels, logits, num_seen, mode)
    # No entropy is above 1: an infinite threshold accepts as much.
    thresholds = torch.tensor(expected).clamp(.001, 1)
    torch.testing.assert_close(
        completer.thresholds.clamp(.001, 1), thresholds, rtol=1e-6, atol=0)

    labels[0] = VOID  # An image without any candidate.
    untouched = labels.clone(), logits.clone()
    completed, weight = completer.complete(labels, logits)
    expected, shares = slow_complete(labels, logits, thresholds.tolist(),
                                     num_seen, mode)
    assert completed.dtype == torch.int64 and completed.tolist() == expected
    assert weight.shape == labels.shape
    for image, share in zip(weight, shares):
        assert image.unique().item() == pytest.approx(share, rel=1e-6)
    assert shares[0] == 0 and 0 < min(shares[1:]) and max(shares) < 1
    assert torch.equal(labels, untouched[0])
    assert torch.equal(logits, untouched[1])
    kept = labels >= num_old
    assert torch.equal(completed[kept], labels[kept])
    without = EntropyPseudoLabels(num_seen, mode, adaptive_factor=False)
    without.load_state_dict(completer.state_dict())
    assert without.complete(labels, logits).pixel_weight is None
    assert torch.equal(without.complete(labels, logits).labels, completed)


@pytest.mark.parametrize(
    'start',
    [
        [10],
        [3, 4],
        [40, 60, 100],
        [2, 3, 1],
        [1, 1, 1, 30],
        # The sum meets the half at an empty bin.
        [8, 6, 6],
        [5, 4, 3],
        [4, 4, 4],
        # The sum never meets the half, and runs away below or beyond it.
        [1] * 10,
        [50000, 60000, 90000],
        # It is below the half until the last bins, and then beyond it.
        [2000, 3000, 4800],
        [],
    ])
@pytest.mark.parametrize('mode', MODES)
def test_median(start, mode):
    bins = NUM_BINS[mode]
    counts = start + [0] * (bins - len(start))
    completer = EntropyPseudoLabels(3, mode)
    completer.histogram = torch.tensor([counts, counts[::-1]])
    completer.finish()
    expected = SLOW_MEDIAN[mode](counts)
    threshold = completer.thresholds[0].item()
    if math.isnan(expected):
        assert math.isnan(threshold)
        completer.thresholds[:] = threshold
        labels = completer.complete(draw_labels(1, 3), draw_logits(1, 2))[0]
        assert set(labels.unique().tolist()) <= {2, VOID}
        assert math.isnan(
            json.loads(json.dumps(completer.state_dict()))['thresholds'][0])
    elif math.isfinite(expected):
        assert threshold == pytest.approx(expected, rel=1e-6)
    else:
        assert threshold == expected
    if mode == 'paper' and start:
        assert completer.thresholds[1].item() == pytest.approx(1 - expected)


def test_official_mode_accepts_all_from_51_old_classes_on():
    for num_old, accepts_all in ((50, False), (51, True), (101, True)):
        completer = EntropyPseudoLabels(num_old + 1, 'official')
        # The teacher can hardly be less sure.
        logits = draw_logits(2, num_old, size=32, scale=1e-3)
        labels = torch.zeros((2, 32, 32), dtype=torch.long)
        observed(completer, (labels, logits))
        completed, weight = completer.complete(labels, logits)
        assert torch.all(completed != VOID) == accepts_all
        if accepts_all:
            assert torch.equal(completed, logits.argmax(dim=1))
            torch.testing.assert_close(weight, torch.ones_like(weight))


@pytest.mark.parametrize('scale', [1., 4., 8.])
def test_paper_mode_accepts_half_of_each_class(scale):
    """The floor of the thresholds would accept more."""
    completer = EntropyPseudoLabels(6, 'paper', min_threshold=0)
    logits = draw_logits(4, 5, size=64, scale=scale)
    labels = torch.zeros((4, 64, 64), dtype=torch.long)
    observed(completer, (labels, logits))
    completed, _ = completer.complete(labels, logits)
    prediction = logits.argmax(dim=1)
    for c in range(5):
        accepted = completed[prediction == c] != VOID
        assert accepted.double().mean().item() == pytest.approx(.5, abs=.01)


@pytest.mark.parametrize('mode', MODES)
def test_no_threshold_is_below_the_minimum(mode):
    logits = draw_logits(2, 3)
    labels = torch.zeros((2, 8, 8), dtype=torch.long)
    for minimum in (0., .02, 1.1):
        completer = EntropyPseudoLabels(4, mode, min_threshold=minimum)
        completer.load_state_dict(dict(mode=mode, thresholds=[-1e9, 0., .01]))
        completed, _ = completer.complete(labels, logits)
        expected, _ = slow_complete(labels, logits,
                                    [max(t, minimum) for t in (-1e9, 0, .01)],
                                    4, mode)
        assert completed.tolist() == expected
        assert torch.all(completed != VOID) == (minimum > 1)


def test_class_that_is_never_predicted_has_the_minimum():
    completer = EntropyPseudoLabels(4, 'paper')
    logits = draw_logits(2, 3)
    logits[:, 2] = -50
    observed(completer, (torch.zeros((2, 8, 8), dtype=torch.long), logits))
    assert completer.thresholds[2] == 0
    sure = torch.tensor([-40., -40, 0]).view(1, 3, 1, 1)
    labels = torch.zeros((1, 1, 1), dtype=torch.long)
    assert completer.complete(labels, sure).labels.item() == 2
    assert completer.complete(labels, sure / 10).labels.item() == VOID


def test_only_background_is_observed():
    """Old classes are labelled in a sequential setting, void anywhere."""
    logits = draw_logits(2, 3)
    labels = draw_labels(2, 5)
    completer = EntropyPseudoLabels(5, 'paper')
    completer.observe(labels, logits)
    assert completer.histogram.sum() == (labels == 0).sum()
    prediction = logits.argmax(dim=1)[labels == 0]
    assert completer.histogram.sum(dim=1).tolist() == [(prediction == c).sum()
                                                       for c in range(3)]


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('num_seen', [1, 2])
def test_one_old_class(num_seen, mode):
    """A teacher that knows the background alone is always sure."""
    completer = EntropyPseudoLabels(num_seen, mode)
    labels = torch.tensor([[[0, num_seen - 1], [VOID, 0]]])
    logits = draw_logits(1, 1, size=2)
    observed(completer, (labels, logits))
    completed, weight = completer.complete(labels, logits)
    assert torch.equal(completed, labels)
    torch.testing.assert_close(weight.float(), torch.ones(1, 2, 2))


@pytest.mark.parametrize('mode', MODES)
def test_batch_without_background_adds_nothing(mode):
    """Nor does it go without a threshold where there is no other batch."""
    logits = draw_logits(2, 3)
    labels = draw_labels(2, 5).clamp(min=3)
    alone, both = (EntropyPseudoLabels(5, mode) for _ in range(2))
    observed(alone, (labels, logits))
    assert alone.thresholds.tolist() == [0, 0, 0]
    observed(both, (labels, logits), (draw_labels(2, 5), logits))
    only = observed(EntropyPseudoLabels(5, mode), (draw_labels(2, 5), logits))
    assert torch.equal(both.thresholds, only.thresholds)


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(mode, dtype):
    labels = draw_labels(2, 5)
    half = draw_logits(2, 3).to(dtype)
    results = []
    for logits in (half, half.float()):
        completer = EntropyPseudoLabels(5, mode)
        with torch.autocast('cpu', dtype=torch.bfloat16):
            observed(completer, (labels, logits))
            completed, weight = completer.complete(labels, logits)
        assert weight.dtype == torch.float32
        results.append((completer.thresholds, completed, weight))
    for first, second in zip(*results):
        assert torch.equal(first, second)


@pytest.mark.parametrize('scale', [1e4, -1e4])
@pytest.mark.parametrize('mode', MODES)
def test_large_logits(mode, scale):
    """Probabilities of 0 have no entropy."""
    completer = EntropyPseudoLabels(4, mode)
    logits = (draw_logits(2, 3, scale=1.) * scale).float()
    labels = torch.zeros((2, 8, 8), dtype=torch.long)
    observed(completer, (labels, logits))
    completed, weight = completer.complete(labels, logits)
    assert torch.equal(completed, logits.argmax(dim=1))
    assert weight.isfinite().all()


@pytest.mark.parametrize('mode', MODES)
def test_state_survives_json(mode):
    labels, logits = draw_labels(2, 5), draw_logits(2, 4)
    completer = observed(EntropyPseudoLabels(5, mode), (labels, logits))
    state = completer.state_dict()
    assert state['mode'] == mode
    resumed = EntropyPseudoLabels(5, mode)
    resumed.load_state_dict(json.loads(json.dumps(state)))
    assert torch.equal(resumed.thresholds, completer.thresholds)
    for expected, value in zip(
            completer.complete(labels, logits),
            resumed.complete(labels, logits)):
        assert torch.equal(value, expected)
    other = MODES[mode == MODES[0]]
    with pytest.raises(
            IncrementalConfigError,
            match=f'are of mode={mode!r}, but .*mode={other!r}; set'):
        EntropyPseudoLabels(5, other).load_state_dict(state)


def test_is_registered_and_refuses_modes():
    completer = MODELS.build(dict(type='EntropyPseudoLabels', num_seen=3))
    assert type(completer) is EntropyPseudoLabels
    assert completer.needs_pass and completer.mode == 'official'
    for mode in ('mine', ['paper']):
        with pytest.raises(
                IncrementalConfigError,
                match=f'{re.escape(repr(mode))} is unknown; .* official'):
            EntropyPseudoLabels(3, mode=mode)


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_teacher_that_has_diverged(value):
    logits = draw_logits(2, 3)
    logits[0, 1, 2, 3] = value
    with pytest.raises(IncrementalConfigError, match='NaN in what the teach'):
        EntropyPseudoLabels(4).observe(draw_labels(2, 4), logits)


def test_base_class():
    with pytest.raises(TypeError, match='abstract'):
        BaseLabelCompleter()

    class Void(BaseLabelCompleter):

        def complete(self, labels, teacher_logits):
            raise AssertionError

    completer = Void()
    assert not completer.needs_pass and completer.state_dict() == {}
    completer.load_state_dict({})
    for call in (completer.finish, lambda: completer.observe(None, None)):
        with pytest.raises(NotImplementedError):
            call()


@pytest.mark.parametrize('value', [-0.1, 'x', None, math.nan])
def test_threshold_out_of_range(value):
    with pytest.raises(IncrementalConfigError, match='min_threshold='):
        EntropyPseudoLabels(num_seen=3, min_threshold=value)


def test_labels_are_not_completed_before_the_pass():
    with pytest.raises(RuntimeError, match='LabelCompletionHook'):
        EntropyPseudoLabels(num_seen=3).complete(
            torch.zeros(1, 2, 2).long(), torch.zeros(1, 2, 2, 2))


def observe_as_rank(rank: int, batches: list) -> list:
    """Thresholds of a rank that has seen every second batch."""
    completer = observed(EntropyPseudoLabels(6), *batches[rank::2])
    return completer.thresholds.tolist()


def test_ranks_share_what_they_have_seen(tmp_path):
    run_as_ranks = runpy.run_path(str(TOGETHER))['run_as_ranks']
    batches = [(draw_labels(2, 6, seed=i), draw_logits(2, 5, seed=i))
               for i in range(4)]
    alone = observed(EntropyPseudoLabels(6), *batches).thresholds.tolist()
    of_ranks = run_as_ranks(observe_as_rank, tmp_path / 'store', batches)
    assert of_ranks == [alone, alone]
    half = observed(EntropyPseudoLabels(6), *batches[::2]).thresholds.tolist()
    assert half != alone
