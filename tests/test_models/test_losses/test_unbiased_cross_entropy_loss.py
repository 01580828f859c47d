import warnings

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FCNHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models.losses import (UnbiasedCrossEntropyLoss,
                                             unbiased_cross_entropy)


@pytest.fixture
def logits() -> Tensor:
    return torch.randn((2, 4, 3, 5),
                       generator=torch.Generator().manual_seed(0))


@pytest.fixture
def labels() -> Tensor:
    labels = torch.randint(
        0, 4, (2, 3, 5), generator=torch.Generator().manual_seed(1))
    labels[:, 1] = 255
    return labels


def build_host_loss(**kwargs) -> CrossEntropyLoss:
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='Default ``avg_non_ignore``')
        return CrossEntropyLoss(**kwargs)


# mmseg itself cannot combine class_weight with avg_non_ignore=True.
@pytest.mark.parametrize('class_weight, avg_non_ignore',
                         [(None, False), (None, True),
                          ([.5, 1., 2., 3.], False)])
@pytest.mark.parametrize('with_pixel_weight', [False, True])
@pytest.mark.parametrize('reduction_override', [None, 'none'])
@pytest.mark.parametrize('num_old', [0, 1])
def test_equals_host_loss_at_step_0(logits, labels, class_weight,
                                    avg_non_ignore, with_pixel_weight,
                                    reduction_override, num_old):
    kwargs = dict(
        class_weight=class_weight,
        avg_non_ignore=avg_non_ignore,
        loss_weight=.4)
    weight = torch.linspace(0, 2, 30).view(2, 3, 5)
    call = dict(
        weight=weight if with_pixel_weight else None,
        ignore_index=255,
        reduction_override=reduction_override)
    loss = UnbiasedCrossEntropyLoss(
        num_old=num_old, **kwargs)(logits, labels, **call)
    expected = build_host_loss(**kwargs)(logits, labels, **call)
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-7)


def test_num_old_is_read_at_every_call(logits, labels):
    loss = MODELS.build(
        dict(
            type='UnbiasedCrossEntropyLoss',
            loss_weight=2.0,
            avg_non_ignore=True))
    assert type(loss) is UnbiasedCrossEntropyLoss
    assert loss.loss_name == 'loss_ce'
    values = []
    for num_old in (1, 2, 3):
        loss.num_old = num_old
        values.append(loss(logits, labels))
        torch.testing.assert_close(
            values[-1], 2 * unbiased_cross_entropy(
                logits, labels, num_old, avg_non_ignore=True))
    assert values[0] > values[1] > values[2]
    assert 'num_old=3' in repr(loss)


def test_class_weight_list_serves_every_step(logits, labels):
    loss = UnbiasedCrossEntropyLoss(
        class_weight=[.5, 1., 2., 3., 100., 100.], num_old=2)
    expected = unbiased_cross_entropy(
        logits, labels, 2, class_weight=torch.tensor([.5, 1., 2., 3.]))
    torch.testing.assert_close(loss(logits, labels), expected)


def test_refuses_short_class_weight(logits, labels):
    loss = UnbiasedCrossEntropyLoss(class_weight=[1., 1., 1.])
    with pytest.raises(
            IncrementalConfigError, match='has 3 entries, but 4 classes'):
        loss(logits, labels)


@pytest.mark.parametrize('num_old', [-1, 1.5, '1', True])
def test_refuses_num_old(num_old):
    with pytest.raises(
            IncrementalConfigError, match=f'is {num_old!r}, .* integer >= 0'):
        UnbiasedCrossEntropyLoss(num_old=num_old)


def test_refuses_loss_weight():
    with pytest.raises(IncrementalConfigError, match="'loss_ce' is -1"):
        UnbiasedCrossEntropyLoss(loss_weight=-1)


def test_refuses_arguments_without_meaning():
    with pytest.raises(TypeError, match='use_sigmoid'):
        UnbiasedCrossEntropyLoss(use_sigmoid=False)


@pytest.mark.parametrize(
    'sampler',
    [None, dict(type='OHEMPixelSampler', thresh=None, min_kept=4)])
def test_trains_a_decode_head(logits, labels, sampler):
    head = FCNHead(
        in_channels=4,
        channels=4,
        num_convs=1,
        dropout_ratio=0,
        num_classes=4,
        norm_cfg=None,
        sampler=sampler,
        loss_decode=dict(type='UnbiasedCrossEntropyLoss', num_old=2))
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=label[None]))
        for label in labels
    ]
    losses = head.loss((logits, ), samples, None)
    seg_logits = head((logits, ))
    each = unbiased_cross_entropy(seg_logits, labels, 2, reduction='none')
    kept = each.flatten().topk(8).values if sampler else each
    torch.testing.assert_close(losses['loss_ce'], kept.sum() / each.numel())
    losses['loss_ce'].backward()
    assert head.conv_seg.weight.grad.abs().sum() > 0
