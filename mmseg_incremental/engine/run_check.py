"""Whether a run can be carried out, found out before anything is written."""
import copy
import logging
from contextlib import contextmanager
from typing import Any, Iterator, Optional, Sequence

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmseg.registry import (HOOKS, LOOPS, MODELS, OPTIM_WRAPPERS, OPTIMIZERS,
                            PARAM_SCHEDULERS)
from torch import nn

from mmseg_incremental.errors import IncrementalConfigError, close_match
from mmseg_incremental.models import GROWABLE_HEADS
from mmseg_incremental.models.teacher import check_compile
from .method_config import check_method
from .model_config import head_configs, without_pretrained
from .regularizers import build_regularizers, check_optimizer
from .step_config import build_step_cfg


def check_model(cfg: Config, step: int) -> None:
    """Build the model of a step and what trains it, to see that all is there.

    Args:
        cfg (Config): Config of the run.
        step (int): The step, counted from 0.

    Raises:
        IncrementalConfigError: If a part does not exist, cannot be built or,
            in the model, cannot grow.
    """
    _check_parts(cfg)
    step_cfg = build_step_cfg(cfg, step)
    model_cfg = without_pretrained(step_cfg.model)
    try:
        with torch.random.fork_rng(devices=[]):
            model = MODELS.build(model_cfg)
    except IncrementalConfigError:
        raise
    except Exception as error:
        # Anything: a part that is not registered, lacks an argument or needs
        # compiled operators fails in its own way.
        raise IncrementalConfigError(
            f'the model of step {step} cannot be built: '
            f'{type(error).__name__}: {error}; correct "model" or "method"'
            f'{_advice_on_heads(model_cfg)}.') from error
    check_compile((cfg.get('teacher') or {}).get('compile'),
                  model.distillation.reads)
    _check_registered(step_cfg)
    _check_optimization(step_cfg, model,
                        cfg.get('method', {}).get('weight_regularizers'))


def check_models(cfg: Config, steps: Sequence[int]) -> None:
    """Check the first and the last of some steps, between which all lie alike.

    Step 0 is checked too where a method has a loss for it alone, whether it
    is trained or not.

    Args:
        cfg (Config): Config of the run.
        steps (Sequence[int]): The steps.

    Raises:
        IncrementalConfigError: As :func:`check_model`.
    """
    chosen = {min(steps), max(steps)}
    if cfg.get('method', {}).get('base_classification'):
        chosen.add(0)
    for step in sorted(chosen):
        check_model(cfg, step)


def _check_parts(cfg: Config) -> None:
    """Build the parts of the method that are not in the model."""
    check_method(cfg)
    method = cfg.get('method', {})
    regularizers = method.get('weight_regularizers') or []
    parts = [('weight_regularizers', part) for part in regularizers]
    if method.get('weight_fusion'):
        parts.append(('weight_fusion', method.weight_fusion))
    for key, part in parts:
        try:
            MODELS.build(part)
        except IncrementalConfigError:
            raise
        except Exception as error:
            # Anything: see check_model.
            raise IncrementalConfigError(
                f'method.{key} has {part}, which cannot be built: '
                f'{type(error).__name__}: {error}; correct it.') from error
    build_regularizers(regularizers)


def _check_optimization(step_cfg: Config, model: nn.Module,
                        regularizers: Optional[Sequence[dict]]) -> None:
    """Build optimizer and schedule as the Runner will."""
    step_cfg = copy.deepcopy(step_cfg)
    key = 'optim_wrapper'
    try:
        with _unlogged():
            wrapper = build_optim_wrapper(model, step_cfg.optim_wrapper)
        check_optimizer(wrapper, [r['type'] for r in regularizers or []])
        key = 'param_scheduler'
        for scheduler in _as_list(step_cfg.get(key)):
            PARAM_SCHEDULERS.build(
                scheduler,
                default_args=dict(optimizer=wrapper, epoch_length=1))
    except IncrementalConfigError:
        raise
    except Exception as error:
        # Anything: see check_model.
        raise IncrementalConfigError(
            f'{key}={step_cfg.get(key)} cannot be built: '
            f'{type(error).__name__}: {error}; correct it.') from error


@contextmanager
def _unlogged() -> Iterator[None]:
    """Log warnings alone: a Runner that trains says the rest."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(max(level, logging.WARNING))
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_registered(step_cfg: Config) -> None:
    """See that all parts of a Runner beside model and data exist."""
    wrapper = step_cfg.get('optim_wrapper') or {}
    hooks = step_cfg.get('default_hooks') or {}
    parts = [('optim_wrapper', OPTIM_WRAPPERS, wrapper),
             ('optim_wrapper.optimizer', OPTIMIZERS, wrapper.get('optimizer'))]
    parts += [('param_scheduler', PARAM_SCHEDULERS, scheduler)
              for scheduler in _as_list(step_cfg.get('param_scheduler'))]
    parts += [(key, LOOPS, step_cfg.get(key))
              for key in ('train_cfg', 'val_cfg', 'test_cfg')]
    parts += [(f'default_hooks.{name}', HOOKS, hook)
              for name, hook in hooks.items()]
    parts += [('custom_hooks', HOOKS, hook)
              for hook in step_cfg.get('custom_hooks') or []]
    for key, registry, part in parts:
        name = (part or {}).get('type')
        if isinstance(name, str) and registry.get(name) is None:
            known = [*registry.module_dict, *registry.parent.module_dict]
            raise IncrementalConfigError(
                f'{key} has type={name!r}, which is not registered'
                f'{close_match(name, known)}; correct it, or name the module '
                'that registers it in custom_imports.')


def _as_list(schedulers: Any) -> list:
    if isinstance(schedulers, list):
        return schedulers
    # A dict of lists belongs to several optimizers.
    return [schedulers] if 'type' in (schedulers or {}) else []


def _advice_on_heads(model_cfg: ConfigDict) -> str:
    """Heads that work, where one is used that is not among them."""
    unproven = [
        head.type for head in head_configs(model_cfg)
        if head.type.removeprefix('Incremental') not in GROWABLE_HEADS
    ]
    if not unproven:
        return ''
    return (f' (the head {unproven[0]} is none of those proven to learn new '
            f'classes, which are {", ".join(GROWABLE_HEADS)})')
