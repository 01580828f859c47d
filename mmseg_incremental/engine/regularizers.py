"""What the weight regularizers of a method ask of a run."""
import os.path as osp
from typing import Dict, Mapping, Optional, Sequence

import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmseg.registry import MODELS

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models import BaseWeightRegularizer

IMPORTANCE_FILE = 'importance.pth'
ADVICE = 'train the step before by this method, or by --method importances'


def importance_beside(checkpoint: str) -> str:
    """Where the regularizers of a checkpoint's run have left theirs.

    Args:
        checkpoint (str): A final checkpoint.

    Returns:
        str: A path, of a file that need not exist.
    """
    return osp.join(osp.dirname(checkpoint), IMPORTANCE_FILE)


def build_regularizers(
        configs: Optional[Sequence[dict]]) -> Dict[str, BaseWeightRegularizer]:
    """Build the regularizers of a method.

    Args:
        configs (Sequence[dict], optional): ``method.weight_regularizers``.

    Returns:
        dict[str, BaseWeightRegularizer]: By type, in this order.

    Raises:
        IncrementalConfigError: If one is listed twice, or has an argument
            out of range.
    """
    regularizers = {}
    for cfg in configs or []:
        if cfg['type'] in regularizers:
            raise IncrementalConfigError(
                f'method.weight_regularizers lists {cfg["type"]} twice; '
                'name each once.')
        regularizers[cfg['type']] = MODELS.build(cfg)
    return regularizers


def check_optimizer(optim_wrapper: OptimWrapper,
                    regularizers: Sequence[str]) -> None:
    """Refuse an optimizer whose gradients cannot be watched.

    Args:
        optim_wrapper (OptimWrapper): What trains a step.
        regularizers (Sequence[str]): Their types; none asks for nothing.

    Raises:
        IncrementalConfigError: If there are several optimizers, or one that
            unscales the gradients of mixed precision itself.
    """
    if not regularizers:
        return
    if isinstance(optim_wrapper, OptimWrapperDict):
        raise IncrementalConfigError(
            f'{", ".join(regularizers)} cannot watch several optimizers; use '
            'an optim_wrapper with one.')
    if isinstance(optim_wrapper, AmpOptimWrapper) and getattr(
            optim_wrapper.optimizer, '_step_supports_amp_scaling', False):
        raise IncrementalConfigError(
            'optim_wrapper.optimizer.fused=True unscales the gradients of '
            f'mixed precision too late for {", ".join(regularizers)}; set it '
            'to False.')


def check_importance(cfg: Config, checkpoint: str) -> None:
    """See that there are the importances that the next step needs.

    Args:
        cfg (Config): Config of the run.
        checkpoint (str): What the step starts from.

    Raises:
        IncrementalConfigError: If there are not.
    """
    regularizers = build_regularizers(
        cfg.get('method', {}).get('weight_regularizers'))
    read_importance(importance_beside(checkpoint), regularizers)


def read_importance(path: str,
                    regularizers: Mapping[str, BaseWeightRegularizer]) -> dict:
    """Read what the regularizers of the step before have left.

    Args:
        path (str): Its ``importance.pth``.
        regularizers (Mapping[str, BaseWeightRegularizer]): Those of this
            step, by type. One of weight 0 needs no importance.

    Returns:
        dict: State of each regularizer by its type.

    Raises:
        IncrementalConfigError: If the file cannot be read or does not hold,
            in the same settings, what a regularizer needs.
    """
    needed = [n for n, r in regularizers.items() if r.loss_weight > 0]
    if not osp.isfile(path):
        if not needed:
            return {}
        raise IncrementalConfigError(
            f'{path} does not exist, so that {", ".join(needed)} would '
            f'protect nothing; {ADVICE}.')
    held = _load(path)
    missing = [name for name in needed if name not in held]
    if missing:
        raise IncrementalConfigError(
            f'{path} holds the importance of {", ".join(held) or "nothing"}, '
            f'but not of {", ".join(missing)}; {ADVICE}.')
    for name, regularizer in regularizers.items():
        if name in held:
            _check_settings(path, name, held[name].get('settings', {}),
                            regularizer.settings)
    return held


def _check_settings(path: str, name: str, held: dict, wanted: dict) -> None:
    """Refuse what was gathered in another way."""
    if held == wanted:
        return
    if not held:
        raise IncrementalConfigError(
            f'{path} does not say with which {", ".join(wanted)} the '
            f'importance of {name} was gathered; {ADVICE}.')
    key = next(key for key in {
        **wanted,
        **held
    } if held.get(key) != wanted.get(key))
    raise IncrementalConfigError(
        f'{path} holds the importance of {name} for {key}={held.get(key)!r}, '
        f'not {wanted.get(key)!r}; set {key} as it was, or {ADVICE} with '
        f'{key}={wanted.get(key)!r}.')


def _load(path: str) -> dict:
    try:
        held = torch.load(
            path, map_location='cpu', mmap=True, weights_only=True)
    except Exception as error:
        # Anything: unpickling has types of its own.
        raise IncrementalConfigError(
            f'{path} cannot be read ({type(error).__name__}); put back the '
            'file that the step before has written.') from error
    if not isinstance(held, dict) or not all(
            isinstance(state, dict) for state in held.values()):
        raise IncrementalConfigError(
            f'{path} is no file of importances; put back the one that the '
            'step before has written.')
    return held
