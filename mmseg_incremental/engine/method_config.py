"""What the config of a method may contain."""
from typing import Any

from mmengine.config import Config

from mmseg_incremental.errors import IncrementalConfigError, check_keys

METHOD_KEYS = ('name', 'joint', 'base_classification', 'classification',
               'classifier_init', 'distillation', 'label_completion',
               'weight_regularizers', 'weight_fusion', 'fixed_old_classifier',
               'frozen_encoder', 'keeps_weights')
# Keys of METHOD_KEYS that name a registered class, or a list of them.
PARTS = ('base_classification', 'classification', 'label_completion',
         'weight_fusion')
PART_LISTS = ('distillation', 'weight_regularizers')


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
