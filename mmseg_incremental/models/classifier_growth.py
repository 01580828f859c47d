from typing import Any, Optional, Sequence

import torch
from mmengine.logging import print_log
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.decode_heads.stdc_head import STDCHead
from torch import Tensor, nn

from mmseg_incremental.errors import IncrementalConfigError
from .classifier_init import CLASSIFIER_INITS, init_new_rows

# Heads proven to grow; others that compute their loss alike may grow as well.
GROWABLE_HEADS = ('ANNHead', 'APCHead', 'ASPPHead', 'DMHead', 'DNLHead',
                  'DepthwiseSeparableASPPHead', 'DepthwiseSeparableFCNHead',
                  'EMAHead', 'FCNHead', 'FPNHead', 'GCHead', 'ISAHead',
                  'LightHamHead', 'NLHead', 'OCRHead', 'PSPHead',
                  'SETRMLAHead', 'SETRUPHead', 'STDCHead', 'SegformerHead',
                  'UPerHead')


def check_growable(head: nn.Module) -> None:
    """Refuse a head whose classes are not all in one ``conv_seg``.

    A head with a second class-shaped layer (DAHead, EncHead, PIDHead,
    DDRHead) or with queries in place of a classifier (Segmenter, Mask2Former)
    computes its loss by itself, which tells it from those that can grow.

    Args:
        head (nn.Module): A decode or auxiliary head.

    Raises:
        IncrementalConfigError: If it cannot grow.
    """
    conv_seg = getattr(head, 'conv_seg', None)
    own_loss = getattr(type(head), 'loss_by_feat', None)
    stock_loss = (BaseDecodeHead.loss_by_feat, STDCHead.loss_by_feat)
    if (isinstance(conv_seg, nn.Conv2d)
            and conv_seg.out_channels == head.num_classes
            and own_loss in stock_loss):
        return
    raise IncrementalConfigError(
        f'the head {type(head).__name__} cannot learn new classes: it needs '
        'one 1x1 convolution "conv_seg" with an output a class and the loss '
        f'of BaseDecodeHead; choose one of {", ".join(GROWABLE_HEADS)}.')


def predicts_classes(head: nn.Module) -> bool:
    """Whether the outputs of a head are the classes of the segmentor.

    Those of STDC's detail head are boundaries, whatever the classes.

    Args:
        head (nn.Module): A decode or auxiliary head.

    Returns:
        bool: False for :class:`mmseg.models.STDCHead`.
    """
    return not isinstance(head, STDCHead)


def enable_growth(head: nn.Module, classifier_init: str) -> None:
    """Let checkpoints with fewer classes be loaded into a head.

    Every way to load (``load_from``, ``load_checkpoint``,
    ``load_state_dict``) then carries the rows over and initialises the rest.

    Args:
        head (nn.Module): A decode or auxiliary head.
        classifier_init (str): 'random', 'zeros' or 'background'.

    Raises:
        IncrementalConfigError: If the initialiser is unknown.
    """
    if CLASSIFIER_INITS.get(classifier_init) is None:
        raise IncrementalConfigError(
            f'classifier_init={classifier_init!r} is unknown; allowed are '
            f'{", ".join(sorted(CLASSIFIER_INITS.module_dict))}.')
    head.classifier_init = classifier_init
    head._register_load_state_dict_pre_hook(_grow_on_load, with_module=True)


def _grow_on_load(head: nn.Module, state_dict: dict, prefix: str, *args:
                  Any) -> None:
    weight = state_dict.get(f'{prefix}conv_seg.weight')
    # Other differences are left to the load, which reports them.
    if (weight is not None and len(weight) < head.num_classes
            and weight.shape[1:] == head.conv_seg.weight.shape[1:]):
        grow_classifier(head, state_dict, prefix)


def grow_as_loaded(model: nn.Module, state_dict: dict) -> None:
    """Grow a state dict, in place, as loading it into a model would.

    Args:
        model (nn.Module): A model whose heads :func:`enable_growth` prepared.
        state_dict (dict): State dict of the model of the step before.
    """
    for name, module in model.named_modules():
        if hasattr(module, 'classifier_init'):
            _grow_on_load(module, state_dict, f'{name}.')


def grow_classifier(head: nn.Module,
                    state_dict: dict,
                    prefix: str,
                    source: Optional[Sequence[str]] = None,
                    target: Optional[Sequence[str]] = None) -> None:
    """Fit the classifier rows of a state dict to a head, in place.

    Args:
        head (nn.Module): A head prepared by :func:`enable_growth`.
        state_dict (dict): State dict with the rows of the old classes.
        prefix (str): Prefix of the head's keys, with its dot.
        source (Sequence[str], optional): Class names of the state dict's
            rows. Defaults to None: the first classes of the head, in order.
        target (Sequence[str], optional): Class names of the head. Defaults to
            None.

    Raises:
        IncrementalConfigError: If the state dict has another number of rows
            than class names, or rows of another width than the head.
    """
    key = f'{prefix}conv_seg.'
    num_rows = len(state_dict[f'{key}weight'])
    if source is None or target is None:
        source, target = range(num_rows), range(head.num_classes)
    _check_rows(head, state_dict[f'{key}weight'], f'{key}weight', len(source))
    rows = {name: row for row, name in enumerate(source)}
    kept = [i for i, name in enumerate(target) if name in rows]
    new = [i for i, name in enumerate(target) if name not in rows]
    order = [rows[target[i]] for i in kept]

    grown = {}
    for name, fresh in head.conv_seg.named_parameters():
        grown[name] = _carry_rows(state_dict[key + name], fresh, kept, order)
    if new:
        init_new_rows(head.classifier_init, grown['weight'], grown.get('bias'),
                      torch.tensor(new))
    print_log(
        f'{key[:-1]}: {len(kept)} rows kept, {len(new)} rows initialised by '
        f'{head.classifier_init!r}',
        logger='current')
    state_dict.update({key + name: value for name, value in grown.items()})


def _check_rows(head: nn.Module, weight: Tensor, key: str,
                num_names: int) -> None:
    width = head.conv_seg.weight.shape[1:]
    if weight.shape[1:] != width:
        raise IncrementalConfigError(
            f'{key} of the checkpoint has rows of the shape '
            f'{tuple(weight.shape[1:])}, but those of {type(head).__name__} '
            f'have {tuple(width)}; use a checkpoint of the same model.')
    if len(weight) != num_names:
        raise IncrementalConfigError(
            f'{key} of the checkpoint has {len(weight)} rows, but its meta '
            f'data names {num_names} classes; use a checkpoint whose '
            'meta.dataset_meta.classes has one name a row.')


def _carry_rows(old: Tensor, fresh: Tensor, kept: Sequence[int],
                order: Sequence[int]) -> Tensor:
    # A copy: the head's own parameter must not change before the load.
    grown = fresh.detach().clone().to(old)
    grown[kept] = old[order]
    return grown
