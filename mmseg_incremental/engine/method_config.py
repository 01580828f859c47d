"""What the config of a method may contain."""
from typing import Any

from mmengine.config import Config
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import nn

from mmseg_incremental.errors import IncrementalConfigError, check_keys
from mmseg_incremental.models import (BaseClassificationLoss,
                                      BaseDistillationLoss, BaseLabelCompleter,
                                      BaseWeightFusion, BaseWeightRegularizer)

METHOD_KEYS = ('name', 'joint', 'base_classification', 'classification',
               'classifier_init', 'distillation', 'label_completion',
               'weight_regularizers', 'weight_fusion', 'fixed_old_classifier',
               'frozen_encoder', 'keeps_weights')
# Keys of METHOD_KEYS that name a registered class, or a list of them, and what
# these classes are.
PARTS = dict(
    base_classification=BaseClassificationLoss,
    classification=BaseClassificationLoss,
    label_completion=BaseLabelCompleter,
    weight_fusion=BaseWeightFusion)
PART_LISTS = dict(
    distillation=BaseDistillationLoss,
    weight_regularizers=BaseWeightRegularizer)


def method_name(cfg: Config) -> str:
    """Name of the method of a run, 'finetune' where none is set."""
    return cfg.get('method', {}).get('name', 'finetune')


def check_method(cfg: Config) -> None:
    """Refuse keys that no method has.

    Args:
        cfg (Config): Config of the run.

    Raises:
        IncrementalConfigError: If there is one.
    """
    check_keys('method', cfg.get('method', {}), METHOD_KEYS)
    for key in (*PARTS, *PART_LISTS):
        _check_part(key, cfg.get('method', {}).get(key))
    _check_no_contradiction(cfg.get('method', {}))


def _check_part(key: str, value: Any) -> None:
    """See that a part names its class, or a list of parts theirs."""
    parts = value if key in PART_LISTS else [value]
    if value is None:
        return
    if not isinstance(parts, (list, tuple)) or not all(
            isinstance(part, dict) and 'type' in part for part in parts):
        wanted = 'a list of dicts' if key in PART_LISTS else 'a dict'
        raise IncrementalConfigError(
            f'method.{key}={value!r} is not {wanted} with the key "type"; '
            'write it out, or choose by --method a method that has it.')
    for part in parts:
        _check_kind(key, part['type'], {**PARTS, **PART_LISTS}[key])


def _check_kind(key: str, name: Any, base: type) -> None:
    """See that a part is of the kind that its place is for."""
    cls = MODELS.get(name) if isinstance(name, str) else name
    # One that is not registered is reported where it is built.
    if not isinstance(cls, type) or _is_of_kind(cls, base):
        return
    fitting = sorted(known for known, other in MODELS.module_dict.items()
                     if isinstance(other, type) and issubclass(other, base))
    others = 'another subclass'
    if base is BaseClassificationLoss:
        others = 'a loss that MMSegmentation has for loss_decode'
    raise IncrementalConfigError(
        f'method.{key} has type={cls.__name__!r}, which is no '
        f'{base.__name__}; use {" or ".join(fitting)}, or {others}.')


def _is_of_kind(cls: type, base: type) -> bool:
    if base is BaseClassificationLoss:
        # Losses of MMSegmentation, which know nothing of steps, will do. They
        # are plain modules, in contrast to heads and backbones.
        return issubclass(cls, nn.Module) and not issubclass(
            cls, (BaseDistillationLoss, BaseModule))
    return issubclass(cls, base)


def _check_no_contradiction(method: dict) -> None:
    """Refuse parts that undo each other."""
    loss = (method.get('classification') or {}).get('type')
    if loss == 'UnbiasedCrossEntropyLoss' and method.get('label_completion'):
        raise IncrementalConfigError(
            f'method.label_completion={method["label_completion"].type!r} '
            f'has no effect beside method.classification={loss!r}, which '
            'takes every old class for background; leave one of them out.')
    distillation = [part.type for part in method.get('distillation') or []]
    if method.get('frozen_encoder') and 'FeatureDistillationLoss' in (
            distillation):
        raise IncrementalConfigError(
            'method.frozen_encoder=True leaves nothing to do for '
            'FeatureDistillationLoss in method.distillation, which compares '
            'the features of the encoder; leave one of them out.')
