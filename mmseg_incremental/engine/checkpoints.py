"""What checkpoint files say, and whether they fit."""
import os
import os.path as osp
from typing import List, Optional, Union

import torch
from mmengine.config import ConfigDict
from mmengine.runner.checkpoint import _load_checkpoint
from mmseg.registry import MODELS
from torch import nn

from mmseg_incremental.errors import IncrementalConfigError
from .model_config import without_pretrained


def read_meta(path: str) -> dict:
    """Read a checkpoint's ``meta`` without loading its weights.

    Args:
        path (str): A checkpoint of this package or of MMSegmentation.

    Returns:
        dict: Its meta data, empty if it has none or there is no such file.
    """
    if not osp.isfile(path):
        return {}
    # MMEngine's loader has no memory mapping.
    checkpoint = torch.load(
        path, map_location='cpu', mmap=True, weights_only=True)
    return checkpoint.get('meta', {})


def read_checkpoint(option: str, path: str) -> dict:
    """Read a checkpoint that the user names.

    Args:
        option (str): The option that names it, for messages.
        path (str): A file, or an address that MMEngine can load from.

    Returns:
        dict: With 'meta', empty if it has none, and 'state_dict', without
        the prefix of a data-parallel wrapper.

    Raises:
        IncrementalConfigError: If it does not exist or is no checkpoint.
    """
    if '://' not in path and not osp.isfile(path):
        raise IncrementalConfigError(
            f'{option} {path} does not exist; name a checkpoint (.pth).')
    try:
        checkpoint = _load_checkpoint(path, map_location='cpu')
    except Exception as error:
        # Anything: each backend and unpickling have types of their own.
        reason = (str(error).splitlines() or [''])[0]
        raise IncrementalConfigError(
            f'{option} {path} cannot be read as a checkpoint '
            f'({type(error).__name__}: {reason}); name a file (.pth) that '
            'MMSegmentation has written.') from error
    weights = checkpoint.get('state_dict', checkpoint) if isinstance(
        checkpoint, dict) else {}
    if not weights or not all(
            isinstance(value, torch.Tensor) for value in weights.values()):
        raise IncrementalConfigError(
            f'{option} {path} holds no weights of a model; name a file '
            '(.pth) that MMSegmentation has written.')
    return dict(
        meta=checkpoint.get('meta', {}),
        state_dict={
            key.removeprefix('module.'): value
            for key, value in weights.items()
        })


def save_atomically(content: dict, path: str) -> None:
    """Save a file of tensors so that it is there whole or not at all.

    Args:
        content (dict): What ``torch.load(weights_only=True)`` can read.
        path (str): The file, in a folder that exists.
    """
    torch.save(content, f'{path}.partial')
    os.replace(f'{path}.partial', path)


def checkpoint_classes(checkpoint: dict) -> Optional[List[str]]:
    """Class names that a checkpoint notes.

    Args:
        checkpoint (dict): A checkpoint with 'meta'.

    Returns:
        list[str], optional: In head order; None where it notes none.
    """
    meta = checkpoint['meta'].get('dataset_meta') or {}
    names = meta.get('classes', meta.get('CLASSES'))
    return None if names is None else list(names)


def check_fit(model: Union[ConfigDict, nn.Module], state_dict: dict,
              what: str) -> None:
    """Refuse weights that are not exactly those of a model.

    Args:
        model (ConfigDict | nn.Module): The model or its config.
        state_dict (dict): The weights.
        what (str): Where they come from, for the message.

    Raises:
        IncrementalConfigError: If one is missing, superfluous or of another
            shape.
    """
    if not isinstance(model, nn.Module):
        with torch.random.fork_rng(devices=[]):
            model = MODELS.build(without_pretrained(model))
    own = model.state_dict()
    shapes = [
        f'{key} has the shape {tuple(state_dict[key].shape)} in place of '
        f'{tuple(value.shape)}' for key, value in own.items()
        if key in state_dict and state_dict[key].shape != value.shape
    ]
    missing = [f'{key} is missing' for key in own if key not in state_dict]
    foreign = [f'{key} is foreign' for key in state_dict if key not in own]
    problems = missing + foreign + shapes
    if problems:
        rest = len(problems) - 1
        raise IncrementalConfigError(
            f'{what} does not fit the model of the config: {problems[0]}'
            f'{f", and {rest} others do not fit either" if rest else ""}; '
            'give a checkpoint of this architecture, or the config that it '
            'was trained with.')
