"""Segmentors of a few thousand parameters and random pictures for them."""
from typing import Any, Callable, Optional

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn

BN = dict(type='BN')
# Its four levels have 4, 8, 16 and 32 channels at strides 4, 8, 16 and 32.
BACKBONE = dict(
    type='ResNetV1c', depth=18, base_channels=4, stem_channels=4, norm_cfg=BN)


@pytest.fixture(autouse=True)
def scope_and_seed() -> None:
    """What a Runner sets before it builds a model."""
    init_default_scope('mmseg')
    torch.manual_seed(0)


@pytest.fixture
def head_cfg() -> Callable[..., dict]:
    """Config of a head, an ``FCNHead`` on the last level by default."""

    def build(type: str = 'FCNHead',
              num_old: int = 0,
              loss_weight: float = 1.0,
              **kwargs: Any) -> dict:
        defaults = dict(in_channels=32, in_index=3, channels=8, num_classes=7)
        if type == 'FCNHead':
            defaults['num_convs'] = 1
        loss = dict(
            type='UnbiasedCrossEntropyLoss',
            num_old=num_old,
            loss_weight=loss_weight)
        defaults.update(norm_cfg=BN, dropout_ratio=0, loss_decode=loss)
        return {**defaults, 'type': type, **kwargs}

    return build


@pytest.fixture
def build_model() -> Callable[..., nn.Module]:
    """Build a segmentor, a cascade where ``decode_head`` is a list."""

    def build(decode_head: Any,
              type: Optional[str] = None,
              **kwargs: Any) -> nn.Module:
        if isinstance(decode_head, list):
            kwargs['num_stages'] = len(decode_head)
        cascade = 'Cascade' if isinstance(decode_head, list) else ''
        return MODELS.build(
            dict(
                type=type or f'Incremental{cascade}EncoderDecoder',
                data_preprocessor=dict(
                    type='SegDataPreProcessor', size=(64, 64)),
                backbone=kwargs.pop('backbone', BACKBONE),
                decode_head=decode_head,
                train_cfg=dict(),
                test_cfg=dict(mode='whole'),
                **kwargs))

    return build


@pytest.fixture
def images() -> Tensor:
    """Two random pictures, (2, 3, 64, 64)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 64, 64, generator=generator)


@pytest.fixture
def data_samples() -> Callable[..., list]:
    """Labels of two pictures, drawn from ``choices``."""

    def build(choices: tuple = (0, 7, 8, 255)) -> list:
        generator = torch.Generator().manual_seed(1)
        drawn = torch.randint(
            len(choices), (2, 1, 64, 64), generator=generator)
        return [
            SegDataSample(
                gt_sem_seg=PixelData(data=label),
                metainfo=dict(img_shape=(64, 64)))
            for label in torch.tensor(choices)[drawn]
        ]

    return build
