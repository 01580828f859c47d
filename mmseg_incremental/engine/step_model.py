"""The model of a step: head sizes, losses, distillation."""
import copy
import inspect
import logging
from typing import List

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmseg.models.losses import CrossEntropyLoss
from mmseg.registry import MODELS

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models.losses import BaseClassificationLoss
from mmseg_incremental.scenario import ClassIncrementalScenario
from .model_config import head_configs

SEGMENTORS = {
    'EncoderDecoder': 'IncrementalEncoderDecoder',
    'CascadeEncoderDecoder': 'IncrementalCascadeEncoderDecoder',
}
# Classification losses that a method's own takes the place of.
REPLACED_LOSSES = ('CrossEntropyLoss', )
# What a method's loss takes over from it, as far as it has the arguments.
KEPT_ARGUMENTS = ('loss_weight', 'class_weight', 'loss_name', 'avg_non_ignore',
                  'num_old')
# Heads whose outputs are not the classes: STDC's predicts boundaries.
CLASS_AGNOSTIC_HEADS = ('STDCHead', )


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
    model = copy.deepcopy(cfg.get('model'))
    if not isinstance(model, dict) or 'type' not in model:
        raise IncrementalConfigError(
            f'model={model!r} is no config of a segmentor; set it to a dict '
            'as in the configs of MMSegmentation.')
    if model.type not in (*SEGMENTORS, *SEGMENTORS.values()):
        raise IncrementalConfigError(
            f'model.type={model.type!r} cannot learn new classes; allowed '
            f'are {", ".join(SEGMENTORS)}.')
    model.type = SEGMENTORS.get(model.type, model.type)
    method = cfg.get('method', ConfigDict())
    classification = method.get('classification' if step >
                                0 else 'base_classification')
    for head in head_configs(model):
        if head.type in CLASS_AGNOSTIC_HEADS:
            continue
        head.num_classes = len(scenario.seen(step))
        head.pop('out_channels', None)
        _cut_class_weights(head)
        if classification is not None:
            _replace_losses(head, classification, len(scenario.old(step)))
        if step > 0 and method.get('label_completion'):
            _check_weighted_losses(head, method.label_completion.type)
    if step > 0:
        model.distillation = copy.deepcopy(method.get('distillation') or [])
        model.classifier_init = method.get('classifier_init', 'random')
        if method.get('frozen_encoder'):
            model.frozen_encoder = True
        _add_label_completion(model, method, len(scenario.seen(step)))
    return model


def _add_label_completion(model: ConfigDict, method: ConfigDict,
                          num_seen: int) -> None:
    """Put the method's label completion into a model config, in place."""
    completion = copy.deepcopy(method.get('label_completion'))
    if completion is None:
        return
    if _takes(completion.type, 'num_seen'):
        completion.num_seen = num_seen
    model.label_completion = completion


def _losses_of(head: ConfigDict) -> List[ConfigDict]:
    """Losses of a head, of which a config may have one or a list."""
    losses = head.get('loss_decode') or []
    return list(losses) if isinstance(losses, (list, tuple)) else [losses]


def _check_weighted_losses(head: ConfigDict, completion: str) -> None:
    """Refuse losses that cannot weight pixels, as completed labels ask for."""
    for loss in _losses_of(head):
        kind = MODELS.get(loss.type)
        if kind is not None and not issubclass(
                kind, (CrossEntropyLoss, BaseClassificationLoss)):
            raise IncrementalConfigError(
                f'{head.type}.loss_decode has {loss.type}, which does not '
                f'weight pixels as method.label_completion={completion!r} '
                'asks for; use a cross entropy alone.')


def _cut_class_weights(head: ConfigDict) -> None:
    """Keep the weights of the classes seen: one list serves every step."""
    for loss in _losses_of(head):
        weights = loss.get('class_weight')
        if isinstance(weights, (list, tuple)):
            loss.class_weight = list(weights[:head.num_classes])


def _replace_losses(head: ConfigDict, classification: ConfigDict,
                    num_old: int) -> None:
    """Put the method's classification loss where cross entropy stands."""
    head.setdefault('loss_decode',
                    ConfigDict(type='CrossEntropyLoss', loss_weight=1.0))
    replaced = (*REPLACED_LOSSES, classification.type)
    losses = _losses_of(head)
    others = [loss.type for loss in losses if loss.type not in replaced]
    if len(others) == len(losses):
        raise IncrementalConfigError(
            f'{head.type}.loss_decode is {", ".join(others)}, but '
            f'{classification.type} of the method takes the place of '
            f'{", ".join(REPLACED_LOSSES)} only; use that, or a method '
            'without method.classification.')
    if others:
        print_log(
            f'{head.type}: {", ".join(others)} beside {classification.type} '
            'takes old classes for background, as its labels do',
            logger='current',
            level=logging.WARNING)
    losses = [
        loss if loss.type in others else _substitute(
            loss, classification, num_old, head.type) for loss in losses
    ]
    many = isinstance(head.loss_decode, (list, tuple))
    head.loss_decode = losses if many else losses[0]


def _substitute(loss: ConfigDict, classification: ConfigDict, num_old: int,
                head: str) -> ConfigDict:
    """The method's loss with what it takes over of a head's."""
    if loss.get('use_sigmoid') or loss.get('use_mask'):
        raise IncrementalConfigError(
            f'{head}.loss_decode is a sigmoid {loss.type}, '
            f'which {classification.type} cannot replace; set '
            'use_sigmoid=False.')
    known = dict(loss, num_old=num_old)
    kept = {
        key: known[key]
        for key in KEPT_ARGUMENTS
        if key in known and _takes(classification.type, key)
    }
    return ConfigDict({**kept, **classification})


def _takes(name: str, argument: str) -> bool:
    """Whether a registered loss has an argument."""
    loss = MODELS.get(name)
    return loss is not None and argument in inspect.signature(loss).parameters
