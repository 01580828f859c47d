import copy
import runpy
from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict
from mmseg.registry import MODELS

from mmseg_incremental.engine import (build_step_cfg, build_test_cfg,
                                      load_config)
from mmseg_incremental.errors import IncrementalConfigError

_SMALL = runpy.run_path(str(Path(__file__).with_name('small_config.py')))
config, CE = (_SMALL[name] for name in ('config', 'CE'))


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
