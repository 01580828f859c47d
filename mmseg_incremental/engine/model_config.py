"""Walks through the config of a model."""
import copy
from typing import Any, Iterator, Mapping, Tuple

from mmengine.config import ConfigDict

# BatchNorm has the same parameters and also runs without a GPU.
PLAIN_NORMS = dict.fromkeys(('SyncBN', 'MMSyncBN'), 'BN')


def head_configs(model: ConfigDict) -> Iterator[ConfigDict]:
    """Walk through decode and auxiliary heads.

    Args:
        model (ConfigDict): A model config.

    Yields:
        ConfigDict: Each head, not a copy.
    """
    for name in ('decode_head', 'auxiliary_head'):
        heads = model.get(name) or []
        yield from heads if isinstance(heads, (list, tuple)) else [heads]


def without_pretrained(model: ConfigDict) -> ConfigDict:
    """A model config that looks for no pretrained weights.

    Args:
        model (ConfigDict): A model config, left unchanged.

    Returns:
        ConfigDict: For a model whose weights come from a checkpoint.
    """
    model = copy.deepcopy(model)
    for holder, key, _ in find_pretrained(model):
        # The layer then takes its own default initialisation.
        holder.pop(key)
    return model


def find_pretrained(node: Any) -> Iterator[Tuple[dict, str, Any]]:
    """Find every place in a model config that names pretrained weights.

    Args:
        node (Any): Dicts and lists, nested.

    Yields:
        tuple[dict, str, Any]: The dict, its key, and the weights named.
    """
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from find_pretrained(item)
    elif isinstance(node, dict):
        init_cfg = node.get('init_cfg')
        if isinstance(init_cfg, dict) and init_cfg['type'] == 'Pretrained':
            yield node, 'init_cfg', init_cfg.get('checkpoint')
        if node.get('pretrained') is not None:
            yield node, 'pretrained', node['pretrained']
        for value in list(node.values()):
            yield from find_pretrained(value)


def rename_types(node: Any, names: Mapping[str, str]) -> None:
    """Exchange registered names in a nested config, in place.

    Args:
        node (Any): Dicts and lists, nested.
        names (Mapping[str, str]): New value of ``type`` by old value.
    """
    if isinstance(node, (list, tuple)):
        for item in node:
            rename_types(item, names)
    elif isinstance(node, dict):
        if isinstance(node.get('type'), str):
            node['type'] = names.get(node['type'], node['type'])
        for value in node.values():
            rename_types(value, names)
