import copy
import os.path as osp
from typing import Any, Optional

from mmengine.config import Config, ConfigDict

from mmseg_incremental.scenario import ClassIncrementalScenario
from .method_config import check_method
from .model_config import without_pretrained
from .scenario_config import build_scenario
from .step_data import fold_data
from .step_hooks import (FINAL_CHECKPOINT, later_step_hooks, profile_hooks,
                         step_hooks)
from .step_model import build_step_model


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
    check_method(cfg)
    step_cfg = _with_step_overrides(cfg, step)
    step_cfg.model = build_step_model(step_cfg, scenario, step)
    fold_data(step_cfg, scenario, step)
    _fold_loops(step_cfg)
    hooks = step_hooks(cfg, scenario, step)
    if step > 0:
        hooks += later_step_hooks(cfg, scenario, step, step_dir(cfg, step - 1),
                                  _teacher_model(cfg, scenario, step))
    step_cfg.custom_hooks = [*(step_cfg.get('custom_hooks') or []), *hooks]
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
        overrides = copy.deepcopy(dict(cfg.get('incremental_step') or {}))
        _empty_other_types(overrides, step_cfg)
        step_cfg.merge_from_dict(overrides)
    return step_cfg


def _empty_other_types(overrides: dict, cfg: Any) -> None:
    """Empty the dicts of another class, whose arguments must not be merged.

    Inheritance between files has taken out a ``_delete_`` that was meant for
    this merge. The classes of ``optim_wrapper`` share their arguments.

    Args:
        overrides (dict): What is going to be merged.
        cfg (Any): What it is merged into, changed in place.
    """
    if isinstance(cfg, (list, tuple)):
        cfg = {str(index): item for index, item in enumerate(cfg)}
    for key, value in overrides.items():
        old = cfg.get(key)
        if not isinstance(value, dict) or not isinstance(
                old, (dict, list, tuple)):
            continue
        old_type = old.get('type') if isinstance(old, dict) else None
        if (old_type is not None and key != 'optim_wrapper'
                and value.get('type', old_type) != old_type):
            old.clear()
        else:
            _empty_other_types(value, old)


def _set_names(cfg: Config, work_dir: str) -> None:
    """Give a Runner its folder and, from that, names of its own."""
    cfg.work_dir = work_dir
    # MMEngine keeps loggers, message hubs and visualizers by name for the
    # life of the process.
    cfg.experiment_name = osp.normpath(work_dir).replace(osp.sep, '_')
    if cfg.get('visualizer'):
        cfg.visualizer.name = cfg.experiment_name


def _fold_loops(cfg: Config) -> None:
    """Leave validation to the end of the step unless it is asked for."""
    if not cfg.get('validate_during_step', False):
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None


def _teacher_model(cfg: Config, scenario: ClassIncrementalScenario,
                   step: int) -> ConfigDict:
    """Config of the model of the step before, which learns nothing."""
    model = without_pretrained(
        build_step_model(
            _with_step_overrides(cfg, step - 1), scenario, step - 1))
    for key in ('distillation', 'label_completion'):
        model.pop(key, None)
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
    hooks = _with_step_overrides(cfg, step).get('custom_hooks') or []
    test_cfg.custom_hooks = [*hooks, *profile_hooks(cfg)]
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper',
                'param_scheduler', 'val_dataloader', 'val_cfg',
                'val_evaluator'):
        test_cfg[key] = None
    _set_names(test_cfg, osp.join(test_cfg.work_dir, 'evaluation'))
    return test_cfg
