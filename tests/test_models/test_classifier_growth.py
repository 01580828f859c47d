import math
import runpy
from pathlib import Path

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.runner.checkpoint import load_checkpoint
from mmseg.registry import MODELS
from torch import nn

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models import GROWABLE_HEADS
from mmseg_incremental.models.classifier_growth import (enable_growth,
                                                        grow_classifier)

_TOKENS = runpy.run_path(str(Path(__file__).with_name('class_tokens.py')))
DPT, VIT = _TOKENS['DPT'], _TOKENS['VIT']
OLD, NEW = 7, 9
LEVELS = dict(in_channels=[4, 8, 16, 32], in_index=[0, 1, 2, 3])
TWO_LEVELS = dict(in_channels=[16, 32], in_index=[2, 3])
# What each head needs beside the defaults of `head_cfg`.
HEADS = {
    # It calls its dropout without asking whether there is one.
    'ANNHead':
    dict(TWO_LEVELS, project_channels=8, dropout_ratio=0.1),
    'APCHead':
    dict(pool_scales=(1, 2)),
    'ASPPHead':
    dict(dilations=(1, 2)),
    'DMHead':
    dict(filter_sizes=(1, 3)),
    'DNLHead':
    dict(),
    'DepthwiseSeparableASPPHead':
    dict(dilations=(1, 2), c1_in_channels=4, c1_channels=4),
    'DepthwiseSeparableFCNHead':
    dict(),
    'EMAHead':
    dict(ema_channels=8, num_bases=4, num_stages=2),
    'FCNHead':
    dict(),
    'FPNHead':
    dict(LEVELS, feature_strides=[4, 8, 16, 32]),
    'GCHead':
    dict(),
    'ISAHead':
    dict(isa_channels=8),
    'LightHamHead':
    dict(LEVELS, ham_channels=8, ham_kwargs=dict(MD_R=4, train_steps=2)),
    'NLHead':
    dict(),
    'OCRHead':
    dict(ocr_channels=8),
    'PSPHead':
    dict(pool_scales=(1, 2)),
    'SETRMLAHead':
    dict(in_channels=[32, 32], in_index=[3, 3], mla_channels=4),
    'SETRUPHead':
    dict(),
    'STDCHead':
    dict(),
    'SegformerHead':
    dict(LEVELS),
    'UPerHead':
    dict(LEVELS, pool_scales=(1, 2)),
}
# Heads that grow as well, without being advertised.
OTHER_HEADS = {
    'LRASPPHead':
    dict(
        in_channels=(4, 8, 32),
        in_index=(0, 1, 3),
        input_transform='multiple_select',
        branch_channels=(4, 4)),
    'DPTHead':
    DPT,
}


def _weights(head):
    return head.conv_seg.weight.detach().clone()


def _last_head(model):
    head = model.decode_head
    return head[-1] if isinstance(head, nn.ModuleList) else head


def _make(name, num_classes, build_model, head_cfg, **kwargs):
    num_old = OLD if num_classes > OLD else 0
    head = head_cfg(
        name,
        num_old=num_old,
        num_classes=num_classes,
        **dict(HEADS, **OTHER_HEADS)[name])
    if name == 'DPTHead':
        kwargs['backbone'] = VIT
    if name == 'OCRHead':
        head = [head_cfg(num_old=num_old, num_classes=num_classes), head]
    model = build_model(head, **kwargs)
    if name == 'LRASPPHead':
        # Its pooling is for features of 49 x 49 and more.
        model.decode_head.image_pool[0] = nn.AdaptiveAvgPool2d(1)
    return model


def _load(model, old_model, way, tmp_path):
    if way == 'load_state_dict':
        model.load_state_dict(old_model.state_dict(), strict=True)
    else:
        path = str(tmp_path / 'old.pth')
        torch.save(dict(state_dict=old_model.state_dict(), meta={}), path)
        load_checkpoint(model, path, strict=True)


def test_list_of_growable_heads():
    assert set(HEADS) == set(GROWABLE_HEADS)
    assert list(GROWABLE_HEADS) == sorted(GROWABLE_HEADS)
    # Those that were found to work when their classifier is replaced.
    assert {
        name[:-4]
        for name in GROWABLE_HEADS
    } == set(
        'FCN PSP ASPP DepthwiseSeparableASPP DepthwiseSeparableFCN UPer '
        'Segformer FPN NL GC DNL ANN APC DM EMA ISA LightHam SETRUP SETRMLA '
        'OCR STDC'.split())


@pytest.mark.parametrize('way', ['load_state_dict', 'load_checkpoint'])
@pytest.mark.parametrize('name', [*HEADS, *OTHER_HEADS])
def test_head_grows_and_learns(name, way, build_model, head_cfg, images,
                               data_samples, tmp_path):
    teacher = _make(name, OLD, build_model, head_cfg)
    model = _make(
        name,
        NEW,
        build_model,
        head_cfg,
        distillation=[dict(type='UnbiasedDistillationLoss')])
    _load(model, teacher, way, tmp_path)
    model.set_teacher(teacher)
    head, old_head = _last_head(model), _last_head(teacher)
    grown, old = _weights(head), _weights(old_head)
    assert torch.equal(grown[:OLD], old)
    assert torch.equal(grown[OLD:], old[:1].expand_as(grown[OLD:]))
    bias, old_bias = head.conv_seg.bias, old_head.conv_seg.bias
    assert torch.equal(bias[1:OLD], old_bias[1:])
    torch.testing.assert_close(bias[[0, 7, 8]],
                               (old_bias[0] - math.log(3)).expand(3))

    optim_wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    log_vars = model.train().train_step(
        dict(inputs=images, data_samples=data_samples()), optim_wrapper)
    assert all(value.isfinite() for value in log_vars.values())
    distilled = [key for key in log_vars if key.endswith('loss_unkd')]
    assert len(distilled) == dict(OCRHead=2, STDCHead=0).get(name, 1)
    changed = (_weights(head) != grown).flatten(1).any(dim=1)
    assert changed[OLD:].all()
    assert torch.equal(_weights(old_head), old)
    # The two new rows started alike and are told apart by their labels.
    if name != 'STDCHead':
        assert not torch.equal(_weights(head)[OLD], _weights(head)[OLD + 1])


NOT_GROWABLE = {
    'DAHead': dict(pam_channels=4),
    'EncHead': dict(in_channels=[32], in_index=[3], num_codes=4),
    'PIDHead': dict(),
    'DDRHead': dict(),
    'SegmenterMaskTransformerHead':
    dict(num_layers=1, num_heads=2, embed_dims=32),
    # Binary segmentation with one output.
    'FCNHead': dict(num_classes=2, out_channels=1),
}


@pytest.mark.parametrize('auxiliary', [False, True])
@pytest.mark.parametrize('name', NOT_GROWABLE)
def test_other_heads_are_refused(name, auxiliary, build_model, head_cfg):
    head = head_cfg(name, **NOT_GROWABLE[name])
    heads = dict(decode_head=head)
    if auxiliary:
        heads = dict(
            decode_head=head_cfg(num_classes=head['num_classes']),
            auxiliary_head=[head])
    with pytest.raises(IncrementalConfigError, match=name) as error:
        build_model(**heads)
    assert ', '.join(GROWABLE_HEADS) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_knet_is_refused(build_model, head_cfg):
    update = dict(
        type='KernelUpdateHead',
        num_classes=7,
        num_ffn_fcs=2,
        num_heads=2,
        num_mask_fcs=1,
        feedforward_channels=8,
        in_channels=8,
        out_channels=8,
        kernel_updator_cfg=dict(
            type='KernelUpdator',
            in_channels=8,
            feat_channels=8,
            out_channels=8))
    with pytest.raises(IncrementalConfigError, match='IterativeDecodeHead'):
        build_model(
            dict(
                type='IterativeDecodeHead',
                num_stages=1,
                kernel_generate_head=head_cfg(),
                kernel_update_head=[update]))


def test_unknown_initialiser_is_refused(head_cfg):
    with pytest.raises(
            IncrementalConfigError,
            match=r"classifier_init='ones' is unknown; allowed are "
            'background, random, zeros'):
        enable_growth(MODELS.build(head_cfg()), 'ones')


def _head(head_cfg, num_classes, init='zeros'):
    head = MODELS.build(head_cfg(num_classes=num_classes))
    enable_growth(head, init)
    return head


def test_rows_follow_their_names(head_cfg):
    head = _head(head_cfg, 5)
    own = {k: v.clone() for k, v in head.state_dict().items()}
    source = ('background', 'cat', 'bird', 'cow')
    target = ('background', 'bird', 'dog', 'cow', 'cat')
    weight = torch.arange(4.).view(4, 1, 1, 1).expand(4, 8, 1, 1).clone()
    state_dict = {
        'a.conv_seg.weight': weight,
        'a.conv_seg.bias': torch.tensor([10., 11., 12., 13.]),
        'a.other': torch.ones(1)
    }
    untouched = weight.clone()
    grow_classifier(head, state_dict, 'a.', source, target)
    assert state_dict['a.conv_seg.weight'][:, 0, 0,
                                           0].tolist() == [0, 2, 0, 3, 1]
    assert state_dict['a.conv_seg.bias'].tolist() == [10, 12, 0, 13, 11]
    assert state_dict['a.other'].tolist() == [1]
    # Neither the given tensors nor the head itself may change.
    assert torch.equal(weight, untouched)
    assert all(torch.equal(own[k], v) for k, v in head.state_dict().items())


def test_permutation_alone_keeps_all_rows(head_cfg):
    head = _head(head_cfg, 3, 'background')
    state_dict = {
        'conv_seg.weight': torch.randn(3, 8, 1, 1),
        'conv_seg.bias': torch.randn(3)
    }
    before = dict(state_dict)
    grow_classifier(head, state_dict, '', 'abc', 'acb')
    for key, value in before.items():
        assert torch.equal(state_dict[key], value[[0, 2, 1]])


def test_growth_keeps_precision_of_the_checkpoint(head_cfg):
    head = _head(head_cfg, 5)
    old = MODELS.build(head_cfg(num_classes=3)).double().state_dict()
    grow_classifier(head, old, '')
    assert old['conv_seg.weight'].dtype == torch.float64


@pytest.mark.parametrize('num_rows, width, match', [
    (4, 8, r'conv_seg.weight of the checkpoint has 4 rows, but its meta data '
     'names 3 classes'),
    (3, 6, r'rows of the shape \(6, 1, 1\), but those of FCNHead have '
     r'\(8, 1, 1\)'),
])
def test_rows_that_do_not_fit(num_rows, width, match, head_cfg):
    state_dict = {
        'conv_seg.weight': torch.zeros(num_rows, width, 1, 1),
        'conv_seg.bias': torch.zeros(num_rows)
    }
    with pytest.raises(IncrementalConfigError, match=match):
        grow_classifier(_head(head_cfg, 5), state_dict, '', 'abc', 'abcde')


@pytest.mark.parametrize('num_rows, width', [(7, 8), (3, 6)])
def test_load_reports_what_growth_cannot_mend(num_rows, width, head_cfg):
    head = _head(head_cfg, 5)
    state_dict = head.state_dict()
    state_dict['conv_seg.weight'] = torch.zeros(num_rows, width, 1, 1)
    state_dict['conv_seg.bias'] = torch.zeros(num_rows)
    with pytest.raises(RuntimeError, match='size mismatch for conv_seg'):
        head.load_state_dict(state_dict)


def test_growth_says_what_it_did(head_cfg, caplog):
    logger = MMLogger.get_instance('growth', logger_name='mmengine')
    logger.addHandler(caplog.handler)
    head = _head(head_cfg, 5, 'background')
    head.load_state_dict(MODELS.build(head_cfg(num_classes=3)).state_dict())
    assert [text for text in caplog.messages if 'rows' in text
            ] == ["conv_seg: 3 rows kept, 2 rows initialised by 'background'"]
