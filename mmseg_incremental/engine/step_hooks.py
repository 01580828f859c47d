"""The hooks that make the run of a config that of one step."""
import os.path as osp
from typing import List

from mmengine.config import Config, ConfigDict

from mmseg_incremental.errors import check_keys
from mmseg_incremental.models.teacher import dtype_of_teacher
from mmseg_incremental.scenario import ClassIncrementalScenario
from .method_config import method_name
from .regularizers import importance_beside

FINAL_CHECKPOINT = 'final.pth'
TEACHER_KEYS = ('fold_batch_norm', 'dtype', 'compile')


def step_hooks(cfg: Config, scenario: ClassIncrementalScenario,
               step: int) -> List[ConfigDict]:
    """Configs of the hooks of every step.

    Args:
        cfg (Config): Config of the run.
        scenario (ClassIncrementalScenario): Its scenario.
        step (int): The step, counted from 0.

    Returns:
        list[ConfigDict]: The hooks' configs.
    """
    hooks = [
        # First, to stop before the checkpoint of the step is written.
        *profile_hooks(cfg),
        dict(
            type='StepCheckpointHook',
            step=step,
            method=method_name(cfg),
            scenario=scenario.to_dict(),
            pretrained_left_out=cfg.get('pretrained_left_out'),
            holdout=cfg.get('holdout')),
        dict(type='TrainingCostHook'),
        dict(type='InvalidLossHook')
    ]
    regularizers = cfg.get('method', {}).get('weight_regularizers')
    if regularizers and step == 0:
        # They watch the base classes, for the steps to come.
        hooks.append(
            dict(type='WeightRegularizerHook', regularizers=regularizers))
    return [ConfigDict(hook) for hook in hooks]


def profile_hooks(cfg: Config) -> List[ConfigDict]:
    """Config of the hook that times phases, if the run wants it.

    Args:
        cfg (Config): Config of the run; ``cfg.profile`` says whether.

    Returns:
        list[ConfigDict]: The hook's config or nothing.
    """
    if not cfg.get('profile', False):
        return []
    return [ConfigDict(type='ProfileHook', name=cfg.work_dir)]


def teacher_options(cfg: Config) -> dict:
    """How the teacher of a run is to be run.

    Args:
        cfg (Config): Config of the run.

    Returns:
        dict: Its key "teacher", arguments of ``TeacherSnapshotHook``.

    Raises:
        IncrementalConfigError: If something in it is unknown.
    """
    options = cfg.get('teacher') or {}
    check_keys('teacher', options, TEACHER_KEYS)
    dtype_of_teacher(options.get('dtype'))
    return options


def later_step_hooks(cfg: Config, scenario: ClassIncrementalScenario,
                     step: int, folder: str,
                     teacher: ConfigDict) -> List[ConfigDict]:
    """Configs of the hooks that look back at the step before.

    Args:
        cfg (Config): Config of the run.
        scenario (ClassIncrementalScenario): Its scenario.
        step (int): The step, from 1 on.
        folder (str): Work dir of the step before.
        teacher (ConfigDict): Model config of the step before.

    Returns:
        list[ConfigDict]: The hooks' configs.
    """
    method = cfg.get('method', ConfigDict())
    seen, num_old = scenario.names(scenario.seen(step)), scenario.num_old(step)
    checkpoint = osp.join(folder, FINAL_CHECKPOINT)
    hooks = [dict(type='ClassifierGrowthHook', classes=list(seen))]
    if method.get('distillation') or method.get('label_completion'):
        hooks.append(
            dict(
                type='TeacherSnapshotHook',
                model=teacher,
                checkpoint=checkpoint,
                **teacher_options(cfg)))
    if method.get('label_completion'):
        hooks.append(dict(type='LabelCompletionHook'))
    if method.get('weight_regularizers'):
        hooks.append(
            dict(
                type='WeightRegularizerHook',
                regularizers=method.weight_regularizers,
                importance=importance_beside(checkpoint),
                anchor=checkpoint))
    if method.get('fixed_old_classifier'):
        hooks.append(dict(type='FixedClassifierHook', num_old=num_old))
    if method.get('weight_fusion'):
        hooks.append(
            dict(
                type='WeightFusionHook',
                fusion=method.weight_fusion,
                checkpoint=checkpoint,
                num_old=num_old,
                num_seen=len(seen)))
    return [ConfigDict(hook) for hook in hooks]
