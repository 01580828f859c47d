import warnings
from functools import partial

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models.decode_heads import FCNHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models.losses import (BaseClassificationLoss,
                                             SigmoidCrossEntropyLoss,
                                             UnbiasedCrossEntropyLoss,
                                             sigmoid_cross_entropy,
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


@pytest.mark.parametrize('cls',
                         [UnbiasedCrossEntropyLoss, SigmoidCrossEntropyLoss])
def test_refuses_short_class_weight(cls, logits, labels):
    loss = cls(class_weight=[1., 1., 1.])
    with pytest.raises(
            IncrementalConfigError, match='has 3 entries, but 4 classes'):
        loss(logits, labels)


@pytest.mark.parametrize('new_only, first_class', [(False, 0), (True, 2)])
def test_old_classes_of_the_sigmoid_loss(logits, labels, new_only,
                                         first_class):
    cfg = dict(type='SigmoidCrossEntropyLoss', new_classes_only=new_only)
    loss = MODELS.build(dict(cfg, num_old=2))
    assert torch.equal(
        loss(logits, labels),
        sigmoid_cross_entropy(logits, labels, first_class=first_class))
    # At step 0 every class is new.
    assert torch.equal(
        MODELS.build(cfg)(logits, labels),
        sigmoid_cross_entropy(logits, labels))
    assert f'new_classes_only={new_only}' in repr(loss)


@pytest.mark.parametrize('num_old', [-1, 1.5, '1', True])
@pytest.mark.parametrize('cls',
                         [UnbiasedCrossEntropyLoss, SigmoidCrossEntropyLoss])
def test_refuses_num_old(cls, num_old):
    with pytest.raises(
            IncrementalConfigError, match=f'is {num_old!r}, .* integer >= 0'):
        cls(num_old=num_old)


@pytest.mark.parametrize('cls, name', [(UnbiasedCrossEntropyLoss, 'loss_ce'),
                                       (SigmoidCrossEntropyLoss, 'loss_bce')])
def test_refuses_loss_weight(cls, name):
    with pytest.raises(IncrementalConfigError, match=f"'{name}' is -1"):
        cls(loss_weight=-1)


def test_refuses_arguments_without_meaning():
    with pytest.raises(TypeError, match='use_sigmoid'):
        UnbiasedCrossEntropyLoss(use_sigmoid=False)


@pytest.mark.parametrize('avg_non_ignore', [False, True])
@pytest.mark.parametrize('with_pixel_weight', [False, True])
@pytest.mark.parametrize('class_weight', [None, [.5, 1., 2., 3., 100.]])
def test_sigmoid_module(logits, labels, class_weight, with_pixel_weight,
                        avg_non_ignore):
    loss = MODELS.build(
        dict(
            type='SigmoidCrossEntropyLoss',
            class_weight=class_weight,
            avg_non_ignore=avg_non_ignore,
            loss_weight=.4))
    assert type(loss) is SigmoidCrossEntropyLoss
    assert loss.loss_name == 'loss_bce' and 'loss_weight=0.4' in repr(loss)
    weight = torch.linspace(0, 2, 30).view(2, 3, 5)
    kwargs = dict(
        pixel_weight=weight if with_pixel_weight else None,
        avg_non_ignore=avg_non_ignore)
    if class_weight is not None:
        kwargs['class_weight'] = torch.tensor(class_weight[:4])
    for reduction in ('mean', 'none'):
        value = loss(
            logits,
            labels,
            weight=kwargs['pixel_weight'],
            reduction_override=None if reduction == 'mean' else reduction)
        torch.testing.assert_close(
            value, .4 * sigmoid_cross_entropy(
                logits, labels, reduction=reduction, **kwargs))


def test_sigmoid_is_that_of_the_host_summed_over_classes(logits, labels):
    host = build_host_loss(use_sigmoid=True, reduction='none')
    each = host(logits, labels, ignore_index=255)
    torch.testing.assert_close(SigmoidCrossEntropyLoss()(logits, labels),
                               each.sum(dim=1).mean())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('cls',
                         [UnbiasedCrossEntropyLoss, SigmoidCrossEntropyLoss])
def test_half_precision_is_computed_in_float32(cls, dtype, logits, labels):
    half = (1000 * logits).to(dtype)
    loss = cls(class_weight=[.5, 1., 2., 3.])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(half, labels)
    assert value.dtype == torch.float32 and value.isfinite()
    assert torch.equal(value, loss(half.float(), labels))


def test_base_class_is_abstract():
    with pytest.raises(TypeError, match='abstract'):
        BaseClassificationLoss(1.0, None, 'loss_ce')


@pytest.mark.parametrize(
    'sampler',
    [None, dict(type='OHEMPixelSampler', thresh=None, min_kept=4)])
@pytest.mark.parametrize('cfg, function, name', [
    (dict(type='UnbiasedCrossEntropyLoss',
          num_old=2), partial(unbiased_cross_entropy, num_old=2), 'loss_ce'),
    (dict(type='SigmoidCrossEntropyLoss'), sigmoid_cross_entropy, 'loss_bce'),
])
def test_trains_a_decode_head(logits, labels, cfg, function, name, sampler):
    head = FCNHead(
        in_channels=4,
        channels=4,
        num_convs=1,
        dropout_ratio=0,
        num_classes=4,
        norm_cfg=None,
        sampler=sampler,
        loss_decode=cfg)
    samples = [
        SegDataSample(gt_sem_seg=PixelData(data=label[None]))
        for label in labels
    ]
    losses = head.loss((logits, ), samples, None)
    seg_logits = head((logits, ))
    each = function(seg_logits, labels, reduction='none')
    kept = each.flatten().topk(8).values if sampler else each
    torch.testing.assert_close(losses[name], kept.sum() / each.numel())
    losses[name].backward()
    assert head.conv_seg.weight.grad.abs().sum() > 0
