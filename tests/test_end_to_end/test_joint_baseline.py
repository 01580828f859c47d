from typing import List

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from mmseg_incremental.datasets.shapes import SHAPES_CLASSES, SHAPES_PALETTE
from mmseg_incremental.engine import build_step_cfg

ITERS = 5
NORM = dict(type='SyncBN', requires_grad=True)
# What a user of plain MMSegmentation would write.
STOCK_MODEL = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(64, 64)),
    backbone=dict(
        type='ResNetV1c',
        depth=18,
        base_channels=16,
        stem_channels=16,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        dilations=(1, 1, 2, 4),
        strides=(1, 2, 1, 1),
        norm_cfg=NORM,
        norm_eval=False,
        style='pytorch',
        contract_dilation=True),
    decode_head=dict(
        type='ASPPHead',
        in_channels=128,
        in_index=3,
        channels=64,
        dilations=(1, 3, 6),
        dropout_ratio=0.1,
        num_classes=21,
        norm_cfg=NORM,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))
SCHEDULE = dict(
    optim_wrapper=dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-4)),
    param_scheduler=[
        dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, end=10)
    ],
    train_cfg=dict(
        type='IterBasedTrainLoop', max_iters=ITERS, val_interval=1000),
    randomness=dict(seed=7))


@HOOKS.register_module()
class LossRecorderHook(Hook):
    """Keep the losses of every iteration.

    Args:
        losses (list): Where they are kept, one dict an iteration.
    """

    def __init__(self, losses: List[dict]) -> None:
        self.losses = losses

    def after_train_iter(self,
                         runner,
                         batch_idx,
                         data_batch=None,
                         outputs=None) -> None:
        names = [s.img_path for s in data_batch['data_samples']]
        values = {key: value.item() for key, value in outputs.items()}
        self.losses.append(dict(values, images=names))


def train(cfg: Config) -> tuple:
    losses: List[dict] = []
    cfg.custom_hooks = [
        *(cfg.get('custom_hooks') or []),
        dict(type='LossRecorderHook', losses=losses)
    ]
    runner = Runner.from_cfg(cfg)
    # from_cfg copies the config, so the list is the hook's.
    hook = next(h for h in runner.hooks if isinstance(h, LossRecorderHook))
    runner.train()
    return hook.losses, runner.model.state_dict()


def stock_cfg(root: str, work_dir: str) -> Config:
    return Config(
        dict(
            SCHEDULE,
            default_scope='mmseg',
            work_dir=work_dir,
            experiment_name='stock',
            model=STOCK_MODEL,
            train_dataloader=dict(
                batch_size=4,
                num_workers=0,
                sampler=dict(type='InfiniteSampler', shuffle=True),
                dataset=dict(
                    type='BaseSegDataset',
                    metainfo=dict(
                        classes=SHAPES_CLASSES, palette=SHAPES_PALETTE),
                    data_root=root,
                    ann_file='ImageSets/Segmentation/train.txt',
                    data_prefix=dict(
                        img_path='JPEGImages',
                        seg_map_path='SegmentationClass'),
                    img_suffix='.png',
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        dict(type='LoadAnnotations'),
                        dict(type='RandomFlip', prob=0.5),
                        dict(type='PackSegInputs')
                    ]))))


@pytest.mark.parametrize('method', ['joint', 'mib'])
def test_joint_is_the_baseline_of_mmseg(tiny_cfg, shapes_root, tmp_path,
                                        method):
    """Bit for bit; every training image of shapes holds a foreground class,
    so none is left out. Step 0 of a method, of whose task all classes are
    base ones, is the same."""
    expected, weights = train(
        stock_cfg(str(shapes_root), str(tmp_path / 'stock')))
    assert len({entry['loss'] for entry in expected}) == ITERS

    cfg = tiny_cfg(
        tmp_path / method, method=method, **{'scenario.task': '10-10'})
    if method == 'mib':
        cfg.scenario.task = 'offline'
    for key, value in SCHEDULE.items():
        cfg[key] = value
    cfg.model.fused_losses = False
    losses, ours = train(build_step_cfg(cfg, 0))
    assert losses == expected
    assert list(ours) == list(weights)
    assert all(torch.equal(ours[key], weights[key]) for key in weights)
