import copy
import os.path as osp
from typing import Any, Iterator, List, Mapping, Optional

from mmengine.config import Config, ConfigDict

from mmseg_incremental.class_orders import close_match
from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario import ClassIncrementalScenario
from .scenario_config import (build_scenario, is_incremental, leaf_datasets,
                              source_classes)

FINAL_CHECKPOINT = 'final.pth'
SEGMENTORS = {
    'EncoderDecoder': 'IncrementalEncoderDecoder',
    'CascadeEncoderDecoder': 'IncrementalCascadeEncoderDecoder',
}
METHOD_KEYS = ('name', 'joint', 'classification', 'distillation',
               'classifier_init')
# Classification losses that a method's own takes the place of.
REPLACED_LOSSES = ('CrossEntropyLoss', )
# Heads whose outputs are not the classes: STDC's predicts boundaries.
CLASS_AGNOSTIC_HEADS = ('STDCHead', )
# BatchNorm has the same parameters and also runs without a GPU.
PLAIN_NORMS = dict.fromkeys(('SyncBN', 'MMSyncBN'), 'BN')


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
    _check_method(cfg)
    step_cfg = _with_step_overrides(cfg, step)
    step_cfg.model = build_step_model(step_cfg, scenario, step)
    _fold_data(step_cfg, scenario, step)
    _fold_loops(step_cfg)
    step_cfg.custom_hooks = [
        *(step_cfg.get('custom_hooks') or []),
        *_step_hooks(cfg, step_cfg.model, scenario, step)
    ]
    step_cfg.resume = False
    step_cfg.load_from = cfg.get('load_from')
    if step > 0:
        step_cfg.model = without_pretrained(step_cfg.model)
        step_cfg.load_from = final_checkpoint(cfg, step - 1)
    _set_names(step_cfg, step_dir(cfg, step))
    return step_cfg


def _with_step_overrides(cfg: Config, step: int) -> Config:
    """A copy of a config with what differs after step 0."""
    step_cfg = copy.deepcopy(cfg)
    if step > 0:
        step_cfg.merge_from_dict(
            copy.deepcopy(dict(cfg.get('incremental_step') or {})))
    return step_cfg


def _set_names(cfg: Config, work_dir: str) -> None:
    """Give a Runner its folder and, from that, names of its own."""
    cfg.work_dir = work_dir
    # MMEngine keeps loggers, message hubs and visualizers by name for the
    # life of the process.
    cfg.experiment_name = osp.normpath(work_dir).replace(osp.sep, '_')
    if cfg.get('visualizer'):
        cfg.visualizer.name = cfg.experiment_name


def method_name(cfg: Config) -> str:
    """Name of the method of a run, 'finetune' where none is set."""
    return cfg.get('method', {}).get('name', 'finetune')


def _check_method(cfg: Config) -> None:
    for key in cfg.get('method', {}):
        if key not in METHOD_KEYS:
            raise IncrementalConfigError(
                f'method.{key}={cfg.method[key]!r} is unknown'
                f'{close_match(key, METHOD_KEYS)}; allowed are '
                f'{", ".join(METHOD_KEYS)}.')


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
    for head in head_configs(model):
        if head.type in CLASS_AGNOSTIC_HEADS:
            continue
        head.num_classes = len(scenario.seen(step))
        head.pop('out_channels', None)
        if classification is not None:
            _replace_losses(head, classification, len(scenario.old(step)))
    if step > 0:
        model.distillation = copy.deepcopy(method.get('distillation') or [])
        model.classifier_init = method.get('classifier_init', 'random')
    return model


def head_configs(model: ConfigDict) -> Iterator[ConfigDict]:
    """Walk through decode and auxiliary heads.

    Args:
        model (ConfigDict): A model config.

    Yields:
        ConfigDict: Each head, not a copy.
    """
    for name in ('decode_head', 'auxiliary_head'):
        heads = model.get(name) or []
        yield from heads if isinstance(heads, (list, tuple)) else [heads]


def _replace_losses(head: ConfigDict, classification: ConfigDict,
                    num_old: int) -> None:
    """Put the method's classification loss where cross entropy stands."""
    default = dict(type='CrossEntropyLoss', loss_weight=1.0)
    losses = head.get('loss_decode', default)
    many = isinstance(losses, (list, tuple))
    losses = [ConfigDict(loss) for loss in (losses if many else [losses])]
    replaced = (*REPLACED_LOSSES, classification.type)
    if not any(loss.type in replaced for loss in losses):
        raise IncrementalConfigError(
            f'{head.type}.loss_decode is '
            f'{", ".join(loss.type for loss in losses)}, but '
            f'{classification.type} of the method takes the place of '
            f'{", ".join(REPLACED_LOSSES)} only; use that, or a method '
            'without method.classification.')
    for i, loss in enumerate(losses):
        if loss.type not in replaced:
            continue
        if loss.get('use_sigmoid') or loss.get('use_mask'):
            raise IncrementalConfigError(
                f'{head.type}.loss_decode is a sigmoid {loss.type}, '
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
            _check_classes(dataset, scenario, split)
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


def _check_classes(dataset: ConfigDict, scenario: ClassIncrementalScenario,
                   split: str) -> None:
    """Labels are positions in the list of classes, so all must agree."""
    names = source_classes(dataset)
    if names != scenario.class_names:
        raise IncrementalConfigError(
            f'{split}_dataloader has a dataset with the classes {names}, but '
            f'the training data has {scenario.class_names}; give all datasets '
            'the same metainfo.classes in the same order.')


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


def _step_hooks(cfg: Config, model: ConfigDict,
                scenario: ClassIncrementalScenario,
                step: int) -> List[ConfigDict]:
    """Hooks that make the run of a config that of one step."""
    hooks = [
        dict(
            type='StepCheckpointHook',
            step=step,
            method=method_name(cfg),
            scenario=scenario.to_dict(),
            pretrained_left_out=cfg.get('pretrained_left_out'))
    ]
    if step > 0:
        seen = scenario.names(scenario.seen(step))
        hooks.append(dict(type='ClassifierGrowthHook', classes=list(seen)))
    if step > 0 and model.distillation:
        teacher = without_pretrained(
            build_step_model(
                _with_step_overrides(cfg, step - 1), scenario, step - 1))
        # It learns nothing.
        teacher.pop('distillation', None)
        hooks.append(
            dict(
                type='TeacherSnapshotHook',
                model=teacher,
                checkpoint=final_checkpoint(cfg, step - 1)))
    return [ConfigDict(hook) for hook in hooks]


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
    test_cfg.custom_hooks = _with_step_overrides(cfg,
                                                 step).get('custom_hooks')
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper',
                'param_scheduler', 'val_dataloader', 'val_cfg',
                'val_evaluator'):
        test_cfg[key] = None
    _set_names(test_cfg, osp.join(test_cfg.work_dir, 'evaluation'))
    return test_cfg


def rename_types(node: Any, names: Mapping[str, str]) -> None:
    """Exchange registered names in a nested config, in place.

    Args:
        node (Any): Dicts and lists, nested.
        names (Mapping[str, str]): New value of ``type`` by old value.
    """
    if isinstance(node, (list, tuple)):
        for item in node:
            rename_types(item, names)
    elif isinstance(node, dict):
        if isinstance(node.get('type'), str):
            node['type'] = names.get(node['type'], node['type'])
        for value in node.values():
            rename_types(value, names)
