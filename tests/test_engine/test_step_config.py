import copy
import re
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config, ConfigDict
from mmseg.registry import MODELS

from mmseg_incremental.engine import (build_step_cfg, build_test_cfg,
                                      load_config)
from mmseg_incremental.engine.step_data import describe_resize
from mmseg_incremental.engine.step_model import check_method
from mmseg_incremental.errors import IncrementalConfigError

CE = dict(type='CrossEntropyLoss')
NAMES = ('background', 'cat', 'dog', 'cow')
HEAD = dict(type='FCNHead', in_channels=8, channels=4, num_classes=9)


def config(model: dict = dict(), method: str = 'mib', **kwargs: Any) -> Config:
    """A config of three steps: two classes, then one a step."""
    path = 'mmseg_incremental::incremental/shapes_10-1.py'
    cfg = load_config(path, method=method, work_dir='work')
    dataset = dict(
        type='BaseSegDataset', metainfo=dict(classes=NAMES), pipeline=[])
    cfg.scenario = dict(task='1-1')
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset = copy.deepcopy(dataset)
    cfg.model = ConfigDict(
        type='EncoderDecoder', backbone=dict(type='X'), decode_head=HEAD)
    cfg.merge_from_dict(dict(model=model, **kwargs))
    return cfg


def hook_types(cfg: Config) -> list:
    return [hook['type'] for hook in cfg.custom_hooks]


def test_changes_nothing_and_depends_on_nothing_else():
    cfg = config(custom_hooks=[dict(type='EMAHook')], holdout=dict(seed=1))
    before = copy.deepcopy(cfg)
    first = build_step_cfg(cfg, 1)
    build_test_cfg(cfg, 2)
    assert cfg._cfg_dict.to_dict() == before._cfg_dict.to_dict()
    again = build_step_cfg(cfg, 1)
    assert again._cfg_dict.to_dict() == first._cfg_dict.to_dict()
    first.custom_hooks[0]['type'] = 'Other'
    first.train_dataloader.dataset.step = 9
    assert cfg._cfg_dict.to_dict() == before._cfg_dict.to_dict()


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
    for step in (0, 1):
        assert build_step_cfg(cfg, step).model.decode_head.loss_decode == dict(
            type='SigmoidCrossEntropyLoss', avg_non_ignore=True)


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


def test_unknown_key_of_the_method():
    cfg = config()
    cfg.method.clasification = CE
    with pytest.raises(
            IncrementalConfigError,
            match="method.clasification=.* mean 'classification'"):
        build_step_cfg(cfg, 0)


def test_unknown_step():
    with pytest.raises(IncrementalConfigError, match='step 3 does not exist'):
        build_step_cfg(config(), 3)


@pytest.mark.parametrize('method, step, expected', [
    ('mib', 0, []),
    ('mib', 1, ['ClassifierGrowthHook', 'TeacherSnapshotHook']),
    ('finetune', 1, ['ClassifierGrowthHook']),
    ('joint', 0, []),
])
def test_hooks(method, step, expected):
    cfg = config(method=method, custom_hooks=[dict(type='EMAHook')])
    assert hook_types(build_step_cfg(cfg, step)) == [
        'EMAHook', 'StepCheckpointHook', 'TrainingCostHook', 'InvalidLossHook',
        *expected
    ]


def test_where_a_step_starts_from():
    cfg = config(
        dict(
            pretrained='a.pth',
            backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='b'))),
        load_from='start.pth')
    first, second = build_step_cfg(cfg, 0), build_step_cfg(cfg, 1)
    assert first.load_from == 'start.pth'
    assert first.model.backbone.init_cfg.checkpoint == 'b'
    assert second.load_from == 'work/step_0/final.pth'
    assert 'pretrained' not in second.model
    assert 'init_cfg' not in second.model.backbone
    assert not first.resume and not second.resume
    growth, teacher = second.custom_hooks[-2:]
    assert growth.classes == ['background', 'cat', 'dog']
    assert teacher.checkpoint == 'work/step_0/final.pth'
    assert teacher.model.decode_head.num_classes == 2
    assert 'pretrained' not in teacher.model


def test_teacher_of_a_later_step_is_the_model_of_the_step_before():
    teacher = build_step_cfg(config(), 2).custom_hooks[-1]
    assert teacher.checkpoint == 'work/step_1/final.pth'
    assert teacher.model.decode_head.num_classes == 3
    loss = teacher.model.decode_head.loss_decode
    assert loss.num_old == 2
    assert 'distillation' not in teacher.model


def test_incremental_steps_differ_from_step_0():
    cfg = config(
        optim_wrapper=dict(optimizer=dict(lr=0.05)),
        train_cfg=dict(max_iters=600),
        incremental_step=dict(
            optim_wrapper=dict(optimizer=dict(lr=0.5)),
            train_cfg=dict(max_iters=7),
            custom_hooks=[dict(type='EMAHook')],
            model=dict(decode_head=dict(dropout_ratio=0.9))))
    assert hook_types(build_step_cfg(cfg, 0)) == [
        'StepCheckpointHook', 'TrainingCostHook', 'InvalidLossHook'
    ]
    assert hook_types(build_step_cfg(cfg, 1))[0] == 'EMAHook'
    assert hook_types(build_test_cfg(cfg, 1)) == ['EMAHook']
    # The teacher is built as its own step was.
    for step, dropout in ((1, None), (2, 0.9)):
        teacher = build_step_cfg(cfg, step).custom_hooks[-1].model
        assert teacher.decode_head.get('dropout_ratio') == dropout
    first, second = build_step_cfg(cfg, 0), build_step_cfg(cfg, 1)
    assert first.optim_wrapper.optimizer.lr == 0.05
    assert second.optim_wrapper.optimizer.lr == 0.5
    assert second.optim_wrapper.optimizer.momentum == 0.9
    assert (first.train_cfg.max_iters, second.train_cfg.max_iters) == (600, 7)
    assert second.model.decode_head.dropout_ratio == 0.9
    assert 'dropout_ratio' not in first.model.decode_head


def test_another_optimizer_takes_no_argument_of_the_first():
    adam = dict(type='AdamW', lr=0.0001)
    cfg = config(incremental_step=dict(optim_wrapper=dict(optimizer=adam)))
    first, second = build_step_cfg(cfg, 0), build_step_cfg(cfg, 1)
    assert first.optim_wrapper.optimizer.momentum == 0.9
    assert second.optim_wrapper == dict(
        first.optim_wrapper, optimizer=ConfigDict(adam))
    assert cfg.incremental_step.optim_wrapper.optimizer == adam


@pytest.mark.parametrize('overrides, key, expected', [
    (dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.3))),
     'optim_wrapper.optimizer.momentum', 0.9),
    # The wrappers share their arguments.
    (dict(optim_wrapper=dict(type='AmpOptimWrapper')),
     'optim_wrapper.optimizer.momentum', 0.9),
    # A type where there was none.
    (dict(untyped=dict(type='X', b=2)), 'untyped.a', 1),
    (dict(new=dict(type='X', b=2)), 'new.b', 2),
    (dict(many={'0': dict(type='Y')}), 'many.0.a', None),
    (dict(many={'0': dict(type='X', b=2)}), 'many.0.a', 1),
    (dict(model=dict(backbone=dict(type='Y', depth=3))),
     'model.backbone.extra', None),
])  # yapf: disable
def test_what_another_type_replaces(overrides, key, expected):
    cfg = config(
        untyped=dict(a=1),
        many=[dict(type='X', a=1)],
        incremental_step=overrides)
    cfg.model.backbone.extra = 5
    value = build_step_cfg(cfg, 1)
    for part in key.split('.'):
        value = value[int(part)] if part.isdigit() else value.get(part)
    assert value == expected


def test_names_are_those_of_one_step():
    cfg = config()
    every = [build_step_cfg(cfg, step) for step in range(3)]
    every += [build_test_cfg(cfg, step) for step in range(3)]
    assert [c.work_dir for c in every[:3]
            ] == ['work/step_0', 'work/step_1', 'work/step_2']
    for values in ([c.experiment_name
                    for c in every], [c.visualizer.name for c in every],
                   [c.work_dir for c in every]):
        assert len(set(values)) == 6
    other = config(work_dir='other')
    assert build_step_cfg(
        other, 0).experiment_name not in {c.experiment_name
                                          for c in every}


def test_stock_datasets_are_wrapped():
    cfg = config()
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset',
        times=3,
        dataset=dict(
            type='BaseSegDataset',
            metainfo=dict(classes=NAMES),
            data_root='root',
            pipeline=[dict(type='LoadAnnotations')]))
    train = build_step_cfg(cfg, 1).train_dataloader.dataset
    assert train.type == 'RepeatDataset'
    assert train.dataset == dict(
        type='IncrementalDataset',
        dataset=dict(
            type='BaseSegDataset',
            metainfo=dict(classes=NAMES),
            data_root='root'),
        pipeline=[dict(type='LoadAnnotations')],
        scenario=train.dataset.scenario,
        step=1,
        test_mode=False)
    assert train.dataset.scenario.task == '1-1'


def test_every_dataset_gets_its_step_and_mode():
    cfg = config(validate_during_step=True)
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset',
        datasets=[
            dict(type='BaseSegDataset', metainfo=dict(classes=NAMES)),
            dict(
                type='IncrementalDataset',
                dataset=dict(
                    type='BaseSegDataset', metainfo=dict(classes=NAMES)))
        ])
    step_cfg = build_step_cfg(cfg, 2)
    for inner in step_cfg.train_dataloader.dataset.datasets:
        assert (inner.type, inner.step,
                inner.test_mode) == ('IncrementalDataset', 2, False)
    for split in ('val', 'test'):
        inner = step_cfg[f'{split}_dataloader'].dataset
        assert (inner.step, inner.test_mode) == (2, True)


def test_datasets_with_other_classes():
    cfg = config()
    cfg.test_dataloader.dataset.metainfo.classes = NAMES[::-1]
    with pytest.raises(
            IncrementalConfigError, match='test_dataloader has a dataset wi'):
        build_step_cfg(cfg, 0)


def test_holdout_evaluates_on_training_images():
    cfg = config(holdout=dict(fraction=0.3, seed=5))
    cfg.train_dataloader.dataset.update(
        data_root='train', pipeline=[dict(type='A')])
    cfg.test_dataloader.dataset.update(
        data_root='val', pipeline=[dict(type='B')])
    step_cfg = build_step_cfg(cfg, 1)
    train, test = (
        step_cfg[f'{split}_dataloader'].dataset for split in ('train', 'test'))
    assert train.holdout == dict(fraction=0.3, seed=5, part='train')
    assert test.holdout == dict(fraction=0.3, seed=5, part='val')
    assert test.dataset.data_root == 'train'
    assert test.test_mode and not train.test_mode
    assert (train.pipeline[0].type, test.pipeline[0].type) == ('A', 'B')


@pytest.mark.parametrize('evaluator', [
    dict(type='IoUMetric', iou_metrics=['mIoU']),
    dict(type='IncrementalIoUMetric', iou_metrics=['mIoU'])
])
@pytest.mark.parametrize('many', [False, True])
def test_metric(evaluator, many):
    cfg = config(validate_during_step=True)
    for split in ('val', 'test'):
        cfg[f'{split}_dataloader'].dataset = dict(
            type='IncrementalDataset',
            background='dog',
            dataset=dict(type='BaseSegDataset', metainfo=dict(classes=NAMES)))
        cfg[f'{split}_evaluator'] = [evaluator,
                                     dict(type='CityscapesMetric')
                                     ] if many else evaluator
    cfg.train_dataloader = dict(dataset=cfg.test_dataloader.dataset)
    step_cfg = build_step_cfg(cfg, 0)
    for split in ('val', 'test'):
        found = step_cfg[f'{split}_evaluator']
        found, others = (found[0], found[1:]) if many else (found, [])
        assert found == dict(
            type='IncrementalIoUMetric',
            iou_metrics=['mIoU'],
            background='dog')
        assert others == [dict(type='CityscapesMetric')] * many


@pytest.mark.parametrize('during', [False, True])
def test_validation(during):
    step_cfg = build_step_cfg(config(validate_during_step=during), 0)
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        assert (step_cfg[key] is not None) == during
    assert step_cfg.test_dataloader is not None


@pytest.mark.parametrize('workers, persistent', [(0, False), (2, True)])
def test_persistent_workers(workers, persistent):
    cfg = config()
    cfg.train_dataloader.num_workers = workers
    loader = build_step_cfg(cfg, 0).train_dataloader
    assert loader.persistent_workers == persistent


def test_joint_is_the_baseline():
    cfg = config(dict(decode_head=dict(loss_decode=CE)), 'joint')
    step_cfg = build_step_cfg(cfg, 0)
    assert step_cfg.model.decode_head.num_classes == 4
    assert step_cfg.model.decode_head.loss_decode == CE
    assert step_cfg.train_dataloader.dataset.scenario.task == 'offline'
    with pytest.raises(IncrementalConfigError, match='step 1 does not exist'):
        build_step_cfg(cfg, 1)


def test_config_of_an_evaluation():
    cfg = config(custom_hooks=[dict(type='ChannelsLastHook')])
    test_cfg = build_test_cfg(cfg, 1)
    assert test_cfg.load_from == 'work/step_1/final.pth'
    assert build_test_cfg(cfg, 1, 'a.pth').load_from == 'a.pth'
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper',
                'param_scheduler', 'val_dataloader', 'val_cfg',
                'val_evaluator'):
        assert test_cfg[key] is None
    assert hook_types(test_cfg) == ['ChannelsLastHook']
    assert test_cfg.test_dataloader.dataset.step == 1


def test_config_of_mmseg(tmp_path: Path):
    """Any MMSeg config becomes incremental by four lines."""
    (tmp_path / 'config.py').write_text(
        '_base_ = [\n'
        "    'mmseg::segformer/"
        "segformer_mit-b0_8xb2-160k_ade20k-512x512.py',\n"
        "    'mmseg_incremental::_base_/methods/mib.py'\n"
        ']\n'
        "scenario = dict(task='100-50')\n"
        'custom_imports = dict(\n'
        "    imports=['mmseg_incremental'], allow_failed_imports=False)\n")
    cfg = load_config(str(tmp_path / 'config.py'))
    step_cfg = build_step_cfg(cfg, 1)
    head = step_cfg.model.decode_head
    assert (head.num_classes, head.loss_decode.num_old) == (151, 101)
    dataset = step_cfg.train_dataloader.dataset
    assert dataset.dataset.type == 'ADE20KDataset'
    assert dataset.pipeline[1].type == 'LoadAnnotations'
    assert 'pipeline' not in dataset.dataset
    assert step_cfg.test_evaluator.type == 'IncrementalIoUMetric'
    model = MODELS.build(step_cfg.model)
    assert model.decode_head.conv_seg.out_channels == 151
    assert model.num_classes == 151


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


def test_holdout_evaluates_on_every_part_of_the_training_data():
    cfg = config(holdout=dict(fraction=0.5))
    leaf = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = ConfigDict(
        type='ConcatDataset',
        datasets=[dict(leaf, ann_file='a'),
                  dict(leaf, ann_file='b')])
    step_cfg = build_test_cfg(cfg, 0)
    parts = step_cfg.test_dataloader.dataset.datasets
    assert [part.dataset.ann_file for part in parts] == ['a', 'b']
    assert {part.holdout.part for part in parts} == {'val'}


@pytest.mark.parametrize('transform, expected', [
    (dict(type='ResizeCenterCrop', size=512), 'centre crop 512'),
    (dict(type='Resize', scale=(2048, 256)), r'\(2048, 256\)'),
    (dict(type='LoadAnnotations'), 'none'),
])
def test_resize_is_named_in_the_results(transform, expected):
    cfg = config()
    cfg.test_dataloader.dataset.pipeline = [ConfigDict(transform)]
    assert re.search(expected, describe_resize(cfg))


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


def test_frozen_encoder_has_no_features_to_distil():
    assert build_step_cfg(config(method='ilt_frozen_encoder'),
                          1).model.frozen_encoder
    cfg = config(method='ilt')
    cfg.method.frozen_encoder = True
    with pytest.raises(
            IncrementalConfigError,
            match='frozen_encoder=True leaves nothing to do for Feature'):
        check_method(cfg)
