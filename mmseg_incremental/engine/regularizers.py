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


def check_base_importance(cfg: Config, base_checkpoint: Optional[str]) -> None:
    """See that a base checkpoint brings the importances that a method needs.

    Args:
        cfg (Config): Config of the run.
        base_checkpoint (str, optional): Checkpoint that stands in for step 0.

    Raises:
        IncrementalConfigError: If it does not.
    """
    if base_checkpoint is not None:
        regularizers = build_regularizers(
            cfg.get('method', {}).get('weight_regularizers'))
        read_importance(importance_beside(base_checkpoint), regularizers)


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
    advice = 'train the step before by this method, or by --method importances'
    if not osp.isfile(path):
        if not needed:
            return {}
        raise IncrementalConfigError(
            f'{path} does not exist, so that {", ".join(needed)} would '
            f'protect nothing; {advice}.')
    held = _load(path)
    missing = [name for name in needed if name not in held]
    if missing:
        raise IncrementalConfigError(
            f'{path} holds the importance of {", ".join(held) or "nothing"}, '
            f'but not of {", ".join(missing)}; {advice}.')
    for name in needed:
        settings = regularizers[name].settings
        if held[name].get('settings') != settings:
            raise IncrementalConfigError(
                f'{path} holds the importance of {name} for '
                f'{held[name].get("settings")}, not {settings}; set these '
                f'arguments of it as they were, or {advice} with the same.')
    return held


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
