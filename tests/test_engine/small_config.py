"""Config of a small run, for the tests of what a step makes of it."""
import copy
from typing import Any

from mmengine.config import Config, ConfigDict

from mmseg_incremental.engine import load_config

CE = dict(type='CrossEntropyLoss')
NAMES = ('background', 'cat', 'dog', 'cow')
HEAD = dict(type='FCNHead', in_channels=8, channels=4, num_classes=9)


def config(model: dict = dict(), method: str = 'mib', **kwargs: Any) -> Config:
    """A config of three steps: two classes, then one a step."""
    path = 'mmseg_incremental::incremental/shapes_10-1.py'
    cfg = load_config(path, method=method, work_dir='work')
    dataset = dict(
        type='BaseSegDataset', metainfo=dict(classes=NAMES), pipeline=[])
    cfg.scenario = dict(task='1-1')
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset = copy.deepcopy(dataset)
    cfg.model = ConfigDict(
        type='EncoderDecoder', backbone=dict(type='X'), decode_head=HEAD)
    cfg.merge_from_dict(dict(model=model, **kwargs))
    return cfg
