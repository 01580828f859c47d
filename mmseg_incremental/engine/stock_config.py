"""A step's model as plain MMSegmentation builds it."""
import copy
import inspect
import os
from typing import Any, List

from mmengine.config import Config, ConfigDict
from mmseg.registry import MODELS, TRANSFORMS

from mmseg_incremental.models.incremental_mixin import IncrementalMixin
from .model_config import (PLAIN_NORMS, head_configs, rename_types,
                           without_pretrained)
from .scenario_config import leaf_datasets
from .step_model import CLASS_AGNOSTIC_HEADS, SEGMENTORS

DEPLOY_CONFIG = 'deploy.py'
PACKAGE = 'mmseg_incremental'
_ADDED_ARGUMENTS = [
    argument.name
    for argument in inspect.signature(IncrementalMixin).parameters.values()
    if argument.kind is argument.KEYWORD_ONLY
]
_STOCK_SEGMENTORS = {value: key for key, value in SEGMENTORS.items()}
# Longer than any image: the short side alone decides.
_NO_LIMIT = 100000


def to_stock_model(model: ConfigDict) -> ConfigDict:
    """Derive the model config that needs MMSegmentation alone.

    The checkpoint of the step loads into it with ``strict=True`` and predicts
    the same; it is a config for inference, with cross entropy in place of the
    method's losses and BatchNorm in place of SyncBN.

    Args:
        model (ConfigDict): Model config of a step as :func:`build_step_cfg`
            gives it, left unchanged.

    Returns:
        ConfigDict: Config of an ``EncoderDecoder`` or
        ``CascadeEncoderDecoder``.
    """
    model = without_pretrained(model)
    model.type = _STOCK_SEGMENTORS.get(model.type, model.type)
    for key in _ADDED_ARGUMENTS:
        model.pop(key, None)
    for head in head_configs(model):
        _to_stock_head(head)
    rename_types(model, PLAIN_NORMS)
    return model


def write_deploy_config(step_cfg: Config, path: str) -> None:
    """Write a stock config with which ``mmseg.apis`` runs a step's model.

    .. code-block:: python

        from mmseg.apis import inference_model, init_model
        model = init_model('step_2/deploy.py', 'step_2/final.pth')
        result = inference_model(model, 'image.jpg')

    Args:
        step_cfg (Config): Config of a step.
        path (str): The file to write, in one move.
    """
    dataset = next(leaf_datasets(step_cfg.test_dataloader.dataset))
    pipeline = to_stock_pipeline(dataset.pipeline)
    deploy = dict(
        default_scope='mmseg',
        model=to_stock_model(step_cfg.model),
        test_pipeline=pipeline,
        # Both for MMSegInferencer.
        test_dataloader=dict(
            dataset=dict(type='BaseSegDataset', pipeline=pipeline)),
        visualizer=dict(type='SegLocalVisualizer', name='visualizer'))
    imports = dict(step_cfg.get('custom_imports') or {})
    others = [
        name for name in _as_list(imports.get('imports'))
        if name.split('.')[0] != PACKAGE
    ]
    if others:
        deploy['custom_imports'] = dict(imports, imports=others)
    # MMEngine's dump tells the format by the suffix.
    partial = f'{path}.partial.py'
    Config(deploy).dump(partial)
    os.replace(partial, path)


def to_stock_pipeline(pipeline: List[dict]) -> List[dict]:
    """Derive the inference pipeline that needs MMSegmentation alone.

    Args:
        pipeline (list[dict]): Evaluation pipeline of a step.

    Returns:
        list[dict]: The same with the stock ``LoadAnnotations``, and with a
        resize of the short side in place of the resize and centre crop that
        the published evaluation uses.
    """
    stock = []
    for transform in pipeline:
        if transform['type'] in ('LoadAnnotations', 'LoadAnnotationsByTable'):
            # Inference drops it, if it stands there in this plain form.
            transform = dict(type='LoadAnnotations')
        elif transform['type'] == 'ResizeCenterCrop':
            transform = dict(
                type='ResizeShortestEdge',
                scale=transform['size'],
                max_size=_NO_LIMIT)
        if not _is_ours(TRANSFORMS, transform['type']):
            stock.append(copy.deepcopy(transform))
    return stock


def _to_stock_head(head: ConfigDict) -> None:
    if _is_ours(MODELS, head.type):
        head.type = head.type.removeprefix('Incremental')
        head.pop('classifier_init', None)
    if head.type in CLASS_AGNOSTIC_HEADS or 'loss_decode' not in head:
        return
    many = isinstance(head.loss_decode, (list, tuple))
    losses = head.loss_decode if many else [head.loss_decode]
    losses = [
        dict(
            type='CrossEntropyLoss', loss_weight=loss.get('loss_weight', 1.0))
        if _is_ours(MODELS, loss['type']) else loss for loss in losses
    ]
    head.loss_decode = losses if many else losses[0]


def _is_ours(registry: Any, name: str) -> bool:
    """Whether a registered name comes from this package."""
    found = registry.get(name)
    return found is not None and found.__module__.split('.')[0] == PACKAGE


def _as_list(value: Any) -> list:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)
