import pytest
import torch

from mmseg_incremental.evaluation.pixel_counts import count_pixels


def slow(label, pred, num_classes, ignore_index):
    counts = torch.zeros(3, num_classes, dtype=torch.int64)
    for truth, guess in zip(label.flatten().tolist(), pred.flatten().tolist()):
        if truth != ignore_index:
            counts[0, truth] += truth == guess
            counts[1, guess] += 1
            counts[2, truth] += 1
    return counts


@pytest.mark.parametrize('ignore_index', [255, 0, -1, 1000])
# Fewer pairs of classes than pixels, as many, and more.
@pytest.mark.parametrize('num_classes', [1, 5, 8, 9, 40])
def test_counts(num_classes, ignore_index):
    generator = torch.Generator().manual_seed(num_classes)
    label, pred = torch.randint(num_classes, (2, 8, 8), generator=generator)
    label[torch.rand(8, 8, generator=generator) < 0.2] = ignore_index
    counts = count_pixels(label, pred, num_classes, ignore_index)
    expected = slow(label, pred, num_classes, ignore_index)
    assert torch.equal(torch.stack(counts), expected)
    assert expected.any() or (num_classes == 1 and ignore_index == 0)
