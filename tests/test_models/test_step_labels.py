from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_incremental.models.step_labels import (labelled_share, stack_labels,
                                                  weighted_pixels, with_labels)


@pytest.fixture
def head(head_cfg):

    def build(sampler=None, loss='UnbiasedCrossEntropyLoss'):
        cfg = head_cfg(num_classes=4, in_channels=3, in_index=0)
        cfg.update(sampler=sampler, loss_decode=dict(type=loss))
        return MODELS.build(cfg)

    return build


def samples_of(labels):
    return [
        SegDataSample(gt_sem_seg=PixelData(data=label[None]))
        for label in labels
    ]


def draw(seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (2, 5, 6), generator=generator)
    labels[:, 0] = 255
    weight = torch.rand((2, 5, 6), generator=generator)
    return torch.randn((2, 4, 5, 6), generator=generator), labels, weight


@pytest.mark.parametrize('size', [1, 2])
def test_labels_are_stacked_and_exchanged(size, data_samples):
    samples = data_samples()[:size]
    for index, sample in enumerate(samples):
        sample.set_metainfo(dict(img_path=f'{index}.jpg'))
        sample.other = PixelData(data=torch.ones(1, 64, 64))
    labels = stack_labels(samples)
    assert labels.shape == (size, 64, 64) and labels.dtype == torch.int64
    before = labels.clone()
    completed = torch.where(labels == 0, 3, labels)
    new = with_labels(samples, completed)
    assert torch.equal(stack_labels(new), completed)
    assert torch.equal(stack_labels(samples), before)
    for index, (sample, old) in enumerate(zip(new, samples)):
        assert sample.img_path == f'{index}.jpg' and 'img_shape' in sample
        assert sample.other is old.other and sample is not old


@pytest.mark.parametrize('loss', [
    'CrossEntropyLoss', 'UnbiasedCrossEntropyLoss', 'SigmoidCrossEntropyLoss'
])
def test_pixels_are_weighted(loss, head):
    head = head(loss=loss)
    logits, labels, weight = draw()
    each = head.loss_decode(
        logits, labels, ignore_index=255, reduction_override='none')
    if each.dim() == 4:
        each = each.sum(dim=1)
    with weighted_pixels(head, weight):
        losses = head.loss_by_feat(logits, samples_of(labels))
    value, = (v for k, v in losses.items() if k.startswith('loss'))
    torch.testing.assert_close(value, (weight * each).mean())
    assert not torch.allclose(value, each.mean())
    assert head.sampler is None


def test_weights_of_the_head_s_own_sampler_stay(head):
    head = head(sampler=dict(type='OHEMPixelSampler', thresh=None, min_kept=4))
    sampler = head.sampler
    logits, labels, weight = draw()
    mined = sampler.sample(logits, labels[:, None])
    assert mined.sum() == 8
    each = head.loss_decode(logits, labels, reduction_override='none')
    with weighted_pixels(head, weight):
        losses = head.loss_by_feat(logits, samples_of(labels))
    torch.testing.assert_close(losses['loss_ce'],
                               (mined * weight * each).mean())
    assert head.sampler is sampler


def test_no_weight_changes_nothing():
    head = SimpleNamespace(sampler=object())
    sampler = head.sampler
    with weighted_pixels(head, None):
        assert head.sampler is sampler
    assert head.sampler is sampler


def test_sampler_is_back_after_an_error():
    head = SimpleNamespace(sampler=object())
    sampler = head.sampler
    with pytest.raises(ZeroDivisionError):
        with weighted_pixels(head, torch.ones(1)):
            assert head.sampler is not sampler
            raise ZeroDivisionError
    assert head.sampler is sampler


@pytest.mark.parametrize('labels, completed, share', [
    ([0, 0, 0, 0, 3, 255], [1, 0, 255, 2, 3, 255], 75),
    ([0, 0, 3], [255, 255, 3], 0),
    ([3, 255], [3, 255], 0),
])
def test_labelled_share(labels, completed, share):
    labels, completed = torch.tensor([[labels]]), torch.tensor([[completed]])
    assert labelled_share(labels, completed).item() == share
