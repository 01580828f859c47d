import copy
import os.path as osp
from typing import Optional

from mmengine.config import Config, ConfigDict

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario import ClassIncrementalScenario
from .scenario_config import build_scenario, is_incremental, leaf_datasets

FINAL_CHECKPOINT = 'final.pth'
SEGMENTORS = {
    'EncoderDecoder': 'IncrementalEncoderDecoder',
    'CascadeEncoderDecoder': 'IncrementalCascadeEncoderDecoder',
}
# Classification losses that a method's own takes the place of.
REPLACED_LOSSES = ('CrossEntropyLoss', )
# Heads whose outputs are not the classes: STDC's predicts boundaries.
CLASS_AGNOSTIC_HEADS = ('STDCHead', )


def step_dir(cfg: Config, step: int) -> str:
    """Work dir of a step: ``WORK/step_<t>``."""
    return osp.join(cfg.work_dir, f'step_{step}')


def final_checkpoint(cfg: Config, step: int) -> str:
    """Checkpoint of a finished step: ``WORK/step_<t>/final.pth``."""
    return osp.join(step_dir(cfg, step), FINAL_CHECKPOINT)


def build_step_cfg(cfg: Config, step: int) -> Config:
    """Fold scenario and method into the config of one ordinary MMEngine run.

    The result names everything the step needs: the classes of every head, its
    images and labels, the checkpoint to start from and the teacher. It reads
    no file and changes nothing in ``cfg``.

    Args:
        cfg (Config): Config of the whole run.
        step (int): The step, counted from 0.

    Returns:
        Config: Config for :meth:`mmengine.runner.Runner.from_cfg`.

    Raises:
        IncrementalConfigError: If the step or a part of the config is not
            possible.
    """
    scenario = build_scenario(cfg)
    seen = scenario.seen(step)
    step_cfg = copy.deepcopy(cfg)
    if step > 0:
        step_cfg.merge_from_dict(dict(cfg.get('incremental_step') or {}))
    step_cfg.model = build_step_model(step_cfg, scenario, step)
    _fold_data(step_cfg, scenario, step)
    _fold_loops(step_cfg)
    step_cfg.custom_hooks = list(cfg.get('custom_hooks') or [])
    step_cfg.custom_hooks.append(
        dict(
            type='StepCheckpointHook',
            step=step,
            method=method_name(cfg),
            scenario=scenario.to_dict(),
            pretrained_left_out=cfg.get('pretrained_left_out')))
    step_cfg.resume = False
    step_cfg.load_from = cfg.get('load_from')
    if step > 0:
        step_cfg.model = without_pretrained(step_cfg.model)
        step_cfg.load_from = final_checkpoint(cfg, step - 1)
        step_cfg.custom_hooks.append(
            dict(
                type='ClassifierGrowthHook',
                classes=list(scenario.names(seen))))
        _add_teacher(cfg, step_cfg, scenario, step)
    step_cfg.work_dir = step_dir(cfg, step)
    # One name a step: MMEngine keeps loggers, message hubs and visualizers
    # by name for the life of the process.
    step_cfg.experiment_name = osp.normpath(step_cfg.work_dir).replace(
        osp.sep, '_')
    if step_cfg.get('visualizer'):
        step_cfg.visualizer.name = step_cfg.experiment_name
    return step_cfg


def method_name(cfg: Config) -> str:
    """Name of the method of a run, 'finetune' where none is set."""
    return cfg.get('method', {}).get('name', 'finetune')


def build_step_model(cfg: Config, scenario: ClassIncrementalScenario,
                     step: int) -> ConfigDict:
    """Model config of a step: head sizes, losses, distillation.

    Args:
        cfg (Config): Config of the run.
        scenario (ClassIncrementalScenario): Its scenario.
        step (int): The step, counted from 0.

    Returns:
        ConfigDict: The model config, ``cfg.model`` unchanged.
    """
    model = copy.deepcopy(cfg.model)
    if model.type not in (*SEGMENTORS, *SEGMENTORS.values()):
        raise IncrementalConfigError(
            f'model.type={model.type!r} cannot learn new classes; allowed '
            f'are {", ".join(SEGMENTORS)}.')
    model.type = SEGMENTORS.get(model.type, model.type)
    method = cfg.get('method', ConfigDict()) if step > 0 else ConfigDict()
    classification = method.get('classification')
    for name in ('decode_head', 'auxiliary_head'):
        heads = model.get(name) or []
        for head in heads if isinstance(heads, (list, tuple)) else [heads]:
            if head.type in CLASS_AGNOSTIC_HEADS:
                continue
            head.num_classes = len(scenario.seen(step))
            head.pop('out_channels', None)
            if classification is not None:
                _replace_losses(head, classification,
                                len(scenario.old(step)))
    if step > 0:
        model.distillation = copy.deepcopy(method.get('distillation') or [])
        model.classifier_init = method.get('classifier_init', 'random')
    return model


def _replace_losses(head: ConfigDict, classification: ConfigDict,
                    num_old: int) -> None:
    """Put the method's classification loss where cross entropy stands."""
    default = dict(type='CrossEntropyLoss', loss_weight=1.0)
    losses = head.get('loss_decode', default)
    many = isinstance(losses, (list, tuple))
    losses = [ConfigDict(loss) for loss in (losses if many else [losses])]
    for i, loss in enumerate(losses):
        if loss.type not in REPLACED_LOSSES:
            continue
        if loss.get('use_sigmoid') or loss.get('use_mask'):
            raise IncrementalConfigError(
                f'{head.type}.loss_decode is a sigmoid CrossEntropyLoss, '
                f'which {classification.type} cannot replace; set '
                'use_sigmoid=False.')
        kept = {
            key: loss[key]
            for key in ('loss_weight', 'class_weight', 'loss_name',
                        'avg_non_ignore') if key in loss
        }
        losses[i] = ConfigDict({**kept, **classification}, num_old=num_old)
    head.loss_decode = losses if many else losses[0]


def _fold_data(cfg: Config, scenario: ClassIncrementalScenario,
               step: int) -> None:
    """Tell every dataset its step, and wrap those of MMSeg."""
    holdout = cfg.get('holdout')
    if holdout is not None:
        _evaluate_on_train_part(cfg)
    kwargs = scenario.to_dict()
    # The datasets know these two by themselves.
    del kwargs['num_classes'], kwargs['class_names']
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if not loader:
            continue
        for dataset in leaf_datasets(loader.dataset):
            if not is_incremental(dataset):
                _wrap(dataset)
            dataset.update(
                scenario=kwargs, step=step, test_mode=split != 'train')
            if holdout is not None:
                part = 'train' if split == 'train' else 'val'
                dataset.holdout = dict(holdout, part=part)
        if not loader.get('num_workers'):
            # torch refuses persistent workers where there are none.
            loader.persistent_workers = False
        evaluator = cfg.get(f'{split}_evaluator')
        metrics = evaluator if isinstance(evaluator, list) else [evaluator]
        for metric in metrics:
            if metric and metric.get('type') == 'IoUMetric':
                metric.type = 'IncrementalIoUMetric'
            if metric and metric.get('type') == 'IncrementalIoUMetric':
                metric.setdefault('background', scenario.class_names[0])


def _wrap(dataset: ConfigDict) -> None:
    """Turn an MMSeg dataset config into an IncrementalDataset, in place."""
    inner = copy.deepcopy(dict(dataset))
    pipeline = inner.pop('pipeline', [])
    dataset.clear()
    dataset.update(type='IncrementalDataset', dataset=inner, pipeline=pipeline)


def _evaluate_on_train_part(cfg: Config) -> None:
    """Evaluate on training images, with the evaluation's pipeline."""
    source = next(leaf_datasets(cfg.train_dataloader.dataset))
    for split in ('val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader:
            pipeline = next(leaf_datasets(loader.dataset)).pipeline
            loader.dataset = dict(copy.deepcopy(source), pipeline=pipeline)


def _fold_loops(cfg: Config) -> None:
    """Leave validation to the end of the step unless it is asked for."""
    if not cfg.get('validate_during_step', False):
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None


def _add_teacher(cfg: Config, step_cfg: Config,
                 scenario: ClassIncrementalScenario, step: int) -> None:
    """Hook in the model of the step before where a loss reads it."""
    if not step_cfg.model.distillation:
        return
    teacher = build_step_model(cfg, scenario, step - 1)
    step_cfg.custom_hooks.append(
        dict(
            type='TeacherSnapshotHook',
            model=without_pretrained(teacher),
            checkpoint=final_checkpoint(cfg, step - 1)))


def without_pretrained(model: ConfigDict) -> ConfigDict:
    """A model config that looks for no pretrained weights.

    Args:
        model (ConfigDict): A model config, left unchanged.

    Returns:
        ConfigDict: For a model whose weights come from a checkpoint.
    """
    model = copy.deepcopy(model)
    model.pretrained = None
    model.backbone.pop('init_cfg', None)
    model.backbone.pop('pretrained', None)
    return model


def build_test_cfg(cfg: Config,
                   step: int,
                   checkpoint: Optional[str] = None) -> Config:
    """Config of the run that evaluates a step over all its seen classes.

    Args:
        cfg (Config): Config of the whole run.
        step (int): The step, counted from 0.
        checkpoint (str, optional): Defaults to None: the step's own.

    Returns:
        Config: Config for :meth:`mmengine.runner.Runner.from_cfg`.
    """
    test_cfg = build_step_cfg(cfg, step)
    test_cfg.model = without_pretrained(test_cfg.model)
    test_cfg.load_from = checkpoint or final_checkpoint(cfg, step)
    test_cfg.custom_hooks = list(cfg.get('custom_hooks') or [])
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper',
                'param_scheduler', 'val_dataloader', 'val_cfg',
                'val_evaluator'):
        test_cfg[key] = None
    test_cfg.work_dir = osp.join(test_cfg.work_dir, 'evaluation')
    test_cfg.experiment_name += '_evaluation'
    if test_cfg.get('visualizer'):
        test_cfg.visualizer.name = test_cfg.experiment_name
    return test_cfg
