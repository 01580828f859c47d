import runpy
from pathlib import Path

import pytest
from mmengine.config import ConfigDict
from mmseg.registry import MODELS

from mmseg_incremental.engine import build_step_cfg
from mmseg_incremental.errors import IncrementalConfigError

_SMALL = runpy.run_path(str(Path(__file__).with_name('small_config.py')))
config, CE, HEAD = (_SMALL[name] for name in ('config', 'CE', 'HEAD'))


@pytest.mark.parametrize('step, size', [(0, 2), (1, 3), (2, 4)])
@pytest.mark.parametrize('auxiliary', [
    None,
    dict(HEAD, out_channels=9), [dict(HEAD),
                                 dict(HEAD, type='PSPHead')],
    [dict(HEAD), dict(HEAD, type='STDCHead', num_classes=2)]
])
def test_sizes_of_heads(step, size, auxiliary):
    cfg = config()
    cfg.model.auxiliary_head = auxiliary
    model = build_step_cfg(cfg, step).model
    heads = [model.decode_head]
    heads += auxiliary and (model.auxiliary_head if isinstance(
        auxiliary, list) else [model.auxiliary_head]) or []
    for head in heads:
        assert head.num_classes == (2 if head.type == 'STDCHead' else size)
        assert 'out_channels' not in head


def test_cascade():
    cfg = config()
    cfg.model.update(
        type='CascadeEncoderDecoder', num_stages=2, decode_head=[HEAD, HEAD])
    model = build_step_cfg(cfg, 1).model
    assert model.type == 'IncrementalCascadeEncoderDecoder'
    for head in model.decode_head:
        assert head.num_classes == 3
        assert head.loss_decode.type == 'UnbiasedCrossEntropyLoss'
        assert head.loss_decode.num_old == 2


def test_step_0_has_the_losses_of_the_config():
    loss = [dict(CE, class_weight=[1.0, 2.0]), dict(type='DiceLoss')]
    model = build_step_cfg(
        config(dict(decode_head=dict(loss_decode=loss))), 0).model
    assert model.type == 'IncrementalEncoderDecoder'
    assert model.decode_head.loss_decode == loss
    assert 'distillation' not in model


@pytest.mark.parametrize('step, num_old', [(1, 2), (2, 3)])
def test_losses_of_the_method(step, num_old):
    loss = dict(
        CE,
        loss_weight=0.4,
        class_weight=[1.0, 2.0],
        avg_non_ignore=True,
        loss_name='loss_mine',
        use_sigmoid=False)
    dice = dict(type='DiceLoss', loss_weight=3.0)
    cfg = config()
    cfg.model.decode_head.loss_decode = [loss, dice]
    cfg.model.auxiliary_head = dict(HEAD)
    model = build_step_cfg(cfg, step).model
    assert model.decode_head.loss_decode == [
        dict(
            type='UnbiasedCrossEntropyLoss',
            loss_weight=0.4,
            class_weight=[1.0, 2.0],
            avg_non_ignore=True,
            loss_name='loss_mine',
            num_old=num_old), dice
    ]
    # A head that names no loss has cross entropy.
    assert model.auxiliary_head.loss_decode == dict(
        type='UnbiasedCrossEntropyLoss', loss_weight=1.0, num_old=num_old)
    assert model.distillation == [
        dict(type='UnbiasedDistillationLoss', loss_weight=10.0)
    ]
    assert model.classifier_init == 'background'


def test_sigmoid_loss_keeps_the_mean_of_the_head():
    loss = dict(CE, avg_non_ignore=True)
    cfg = config(dict(decode_head=dict(loss_decode=loss)), 'lwf_mc')
    for step, num_old in ((0, 0), (1, 2)):
        assert build_step_cfg(cfg, step).model.decode_head.loss_decode == dict(
            type='SigmoidCrossEntropyLoss',
            avg_non_ignore=True,
            num_old=num_old)


@pytest.mark.parametrize('method', ['finetune', 'lwf'])
def test_methods_that_keep_cross_entropy(method):
    model = build_step_cfg(
        config(dict(decode_head=dict(loss_decode=CE)), method), 1).model
    assert model.decode_head.loss_decode == CE
    assert model.classifier_init == 'random'
    assert len(model.distillation) == (method == 'lwf')


def test_loss_that_the_method_cannot_replace():
    focal = dict(type='FocalLoss')
    cfg = config(dict(decode_head=dict(loss_decode=focal)))
    assert build_step_cfg(cfg, 0).model.decode_head.loss_decode == focal
    with pytest.raises(
            IncrementalConfigError,
            match='FCNHead.loss_decode is FocalLoss, but Unbiased'):
        build_step_cfg(cfg, 1)


def test_loss_of_the_method_written_out():
    loss = dict(type='UnbiasedCrossEntropyLoss', loss_weight=0.5)
    model = build_step_cfg(
        config(dict(decode_head=dict(loss_decode=loss))), 2).model
    assert model.decode_head.loss_decode == dict(loss, num_old=3)


def test_sigmoid_loss():
    loss = dict(CE, use_sigmoid=True)
    with pytest.raises(IncrementalConfigError, match='use_sigmoid=False'):
        build_step_cfg(config(dict(decode_head=dict(loss_decode=loss))), 1)


@pytest.mark.parametrize('model', [None, 5, dict(backbone=dict())])
def test_no_segmentor(model):
    cfg = config()
    cfg.model = model
    with pytest.raises(IncrementalConfigError, match='no config of a segm'):
        build_step_cfg(cfg, 0)


def test_unknown_segmentor():
    with pytest.raises(
            IncrementalConfigError, match="model.type='SegTTAModel'.*Cascade"):
        build_step_cfg(config(dict(type='SegTTAModel')), 0)


@pytest.mark.parametrize('step', [0, 1])
def test_class_weights_are_those_of_the_classes_seen(step):
    loss = dict(CE, class_weight=[1.0, 2.0, 3.0, 4.0])
    cfg = config(dict(decode_head=dict(loss_decode=loss)))
    loss = build_step_cfg(cfg, step).model.decode_head.loss_decode
    assert loss.class_weight == [1.0, 2.0, 3.0][:step + 2]


def test_classification_loss_that_knows_no_old_classes():
    cfg = config()
    cfg.method.classification = ConfigDict(type='LovaszLoss', reduction='none')
    loss = build_step_cfg(cfg, 1).model.decode_head.loss_decode
    assert loss == dict(type='LovaszLoss', reduction='none', loss_weight=1.0)
    MODELS.build(loss)


def test_completed_labels_need_losses_that_weight_pixels():
    dice = [dict(CE), dict(type='DiceLoss')]
    cfg = config(dict(decode_head=dict(loss_decode=dice)), method='plop')
    build_step_cfg(cfg, 0)
    with pytest.raises(
            IncrementalConfigError,
            match='FCNHead.loss_decode has DiceLoss, which does not weight '
            "pixels as method.label_completion='EntropyPseudoLabels' asks"):
        build_step_cfg(cfg, 1)
    cfg = config(dict(decode_head=dict(loss_decode=[dict(CE)])), method='plop')
    assert build_step_cfg(cfg, 1).model.label_completion.num_seen == 3
