import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from mmseg.registry import MODELS

from mmseg_incremental.engine import build_step_cfg
from mmseg_incremental.engine.run_check import check_model, check_models
from mmseg_incremental.errors import IncrementalConfigError


def test_model_that_works(tiny_cfg, tmp_path):
    random = torch.get_rng_state()
    for step in range(3):
        check_model(tiny_cfg(tmp_path), step)
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize('options, message', [
    ({'model.decode_head': dict(
        _delete_=True, type='EncHead', in_channels=(64, 128), in_index=(2, 3),
        channels=16, num_classes=21)}, 'EncHead cannot learn new classes'),
    # The arguments of another head are found first.
    ({'model.decode_head.type': 'EncHead'},
     r"TypeError.*'dilations'.* \(the head EncHead is none of those"),
    ({'model.decode_head.type': 'ASPHead'}, r'KeyError.*ASPHead.*ASPPHead'),
    ({'model.decode_head': dict(
        _delete_=True, type='CCHead', in_channels=128, channels=16,
        num_classes=21)}, 'CCHead is none of those proven'),
    ({'model.decode_head.dilation': 1}, "TypeError.*'dilation'"),
    ({'method.distillation.0.type': 'NoLoss'}, 'KeyError.*NoLoss'),
    ({'method.classifier_init': 'warm'}, "classifier_init='warm' is unk"),
    ({'method.weight_fusion': dict(type='NoFusion')},
     r"method.weight_fusion has \{'type': 'NoFusion'\}, .*KeyError"),
    ({'method.weight_fusion': dict(type='EndpointsWeightFusion', a=1)},
     'method.weight_fusion has .*TypeError'),
    ({'method.weight_regularizers': [
        dict(type='PathIntegral'), dict(type='NoRegularizer')]},
     r"weight_regularizers has \{'type': 'NoRegularizer'\}, .*KeyError"),
    ({'method.weight_regularizers': [
        dict(type='PathIntegral', loss_weight=-1)]}, 'finite number >= 0'),
    ({'method.weight_regularizers': 2 * [dict(type='PathIntegral')]},
     'method.weight_regularizers lists PathIntegral twice'),
    ({'method.weight_regularizers': dict(type='PathIntegral')},
     'weight_regularizers=.* is not a list of dicts'),
    ({'method.weight_regularizers': [dict(loss_weight=1)]}, 'the key "type"'),
    ({'method.weight_regularizers': [dict(type='DistillationLoss')]},
     'no BaseWeightRegularizer; use ElasticWeightConsolidation or PathIn'),
    ({'method.weight_fusion': dict(type='PathIntegral')},
     "method.weight_fusion has type='PathIntegral', which is no BaseWeightF"),
    ({'method.distillation': [dict(type='CrossEntropyLoss')]},
     'no BaseDistillationLoss; use '),
    ({'method.classification': dict(type='DistillationLoss')},
     'no BaseClassificationLoss; use '),
    ({'method.classification': dict(type='FCNHead')},
     'Loss, or a loss that MMSegmentation has for loss_decode'),
    ({'method.label_completion': dict(type='FCNHead')},
     'no BaseLabelCompleter; use EntropyPseudoLabels, or another subclass'),
    ({'method.label_completion.mode': 'paper'},
     'label_completion=.* is not a dict with the key "type"'),
    ({'method.label_completion': dict(type='EntropyPseudoLabels')},
     "label_completion='EntropyPseudoLabels' has no effect beside"),
    ({'teacher.fold': True},
     'teacher.fold=True is unknown; allowed are fold_batch_norm, dtype'),
    ({'teacher.dtype': 'int8'}, "teacher.dtype='int8' is unknown.*bfloat16"),
])  # yapf: disable
def test_model_that_does_not(tiny_cfg, tmp_path, options, message):
    with pytest.raises(IncrementalConfigError, match=message):
        check_model(tiny_cfg(tmp_path, **options), 2)


def test_the_loss_of_step_0_alone(tiny_cfg, tmp_path):
    options = {'method.base_classification': dict(type='NoLoss')}
    cfg = tiny_cfg(tmp_path, **options)
    check_model(cfg, 2)
    with pytest.raises(IncrementalConfigError, match='step 0 .*NoLoss'):
        check_models(cfg, [1, 2])


@pytest.mark.parametrize('options, message', [
    ({'optim_wrapper.optimizer.type': 'SDG'}, "has type='SDG'.*mean 'SGD'"),
    ({'optim_wrapper.optimizer.speed': 1}, "optim_wrapper=.*TypeError.*speed"),
    ({'optim_wrapper.type': 'Wrapper'}, "optim_wrapper has type='Wrapper'"),
    ({'param_scheduler.0.type': 'PolyRL'}, "scheduler has .*mean 'PolyLR'"),
    ({'param_scheduler.0.powre': 1}, 'param_scheduler=.*TypeError.*powre'),
    ({'train_cfg.type': 'IterBasedTrainLop'},
     "train_cfg has type='IterBasedTrainLop'.*mean 'IterBasedTrainLoop'"),
    ({'default_hooks.timer.type': 'Timer'},
     "default_hooks.timer has type='Timer', which is not registered"),
    ({'custom_hooks': [dict(type='ChanelsLastHook')]},
     "custom_hooks has .*mean 'ChannelsLastHook'"),
])  # yapf: disable
def test_training_that_does_not(tiny_cfg, tmp_path, options, message):
    with pytest.raises(IncrementalConfigError, match=message):
        check_model(tiny_cfg(tmp_path, **options), 0)


def test_the_runner_alone_logs_the_optimizer(tiny_cfg, tmp_path, caplog):
    cfg = tiny_cfg(tmp_path)
    cfg.optim_wrapper.paramwise_cfg = dict(norm_decay_mult=0.)
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        check_model(cfg, 0)
        assert 'paramwise' not in caplog.text
        model = MODELS.build(build_step_cfg(cfg, 0).model)
        build_optim_wrapper(model, cfg.optim_wrapper)
        assert 'paramwise' in caplog.text
    finally:
        logger.removeHandler(caplog.handler)


def test_optimizers_that_cannot_be_watched(tiny_cfg, tmp_path, monkeypatch):
    cfg = tiny_cfg(tmp_path)
    monkeypatch.setattr(
        'mmseg_incremental.engine.run_check.build_optim_wrapper',
        lambda model, cfg: OptimWrapperDict(
            all=build_optim_wrapper(model, cfg)))
    cfg.param_scheduler = None
    check_model(cfg, 0)
    cfg.method.weight_regularizers = [dict(type='PathIntegral')]
    with pytest.raises(
            IncrementalConfigError,
            match='PathIntegral cannot watch several optimizers'):
        check_model(cfg, 0)


@pytest.mark.parametrize('schedulers', [
    None, dict(type='ConstantLR', factor=0.5),
    [dict(type='PolyLR', by_epoch=True, end=3, convert_to_iter_based=True)],
])  # yapf: disable
def test_schedules_that_work(tiny_cfg, tmp_path, schedulers):
    cfg = tiny_cfg(tmp_path)
    cfg.param_scheduler = schedulers
    check_model(cfg, 0)
