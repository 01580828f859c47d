import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS, TRANSFORMS

from mmseg_incremental.engine import (build_step_cfg, to_stock_model,
                                      write_deploy_config)
from mmseg_incremental.engine.stock_config import to_stock_pipeline

NORM = dict(type='SyncBN', requires_grad=True)
BN = dict(type='BN', requires_grad=True)


def head(**kwargs):
    return dict(
        type='FCNHead', in_channels=8, channels=4, num_classes=3, **kwargs)


def test_model_of_a_later_step():
    dice = dict(type='DiceLoss', loss_weight=0.5)
    model = ConfigDict(
        type='IncrementalEncoderDecoder',
        pretrained='a.pth',
        backbone=dict(
            type='ResNet',
            norm_cfg=NORM,
            init_cfg=dict(type='Pretrained', checkpoint='b.pth')),
        decode_head=dict(
            head(
                norm_cfg=NORM,
                classifier_init='zeros',
                loss_decode=[
                    dict(
                        type='UnbiasedCrossEntropyLoss',
                        num_old=2,
                        loss_weight=0.4,
                        class_weight=[1, 2, 3]), dice
                ]),
            type='IncrementalFCNHead'),
        auxiliary_head=[
            head(loss_decode=dict(type='UnbiasedCrossEntropyLoss', num_old=2)),
            head(loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.1)),
            head()
        ],
        distillation=[dict(type='UnbiasedDistillationLoss')],
        classifier_init='background',
        test_cfg=dict(mode='whole'))
    before = model.to_dict()
    assert to_stock_model(model) == dict(
        type='EncoderDecoder',
        backbone=dict(type='ResNet', norm_cfg=BN),
        decode_head=head(
            norm_cfg=BN,
            loss_decode=[dict(type='CrossEntropyLoss', loss_weight=0.4),
                         dice]),
        auxiliary_head=[
            head(loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0)),
            head(loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.1)),
            head()
        ],
        test_cfg=dict(mode='whole'))
    assert model.to_dict() == before


def test_cascade():
    model = ConfigDict(
        type='IncrementalCascadeEncoderDecoder',
        num_stages=2,
        backbone=dict(type='ResNet'),
        decode_head=[head(), dict(head(), type='IncrementalOCRHead')])
    stock = to_stock_model(model)
    assert stock.type == 'CascadeEncoderDecoder'
    assert [h.type for h in stock.decode_head] == ['FCNHead', 'OCRHead']


def test_parameters_are_the_same(tiny_cfg, tmp_path):
    init_default_scope('mmseg')
    model = build_step_cfg(tiny_cfg(tmp_path), 2).model
    ours, stock = MODELS.build(model), MODELS.build(to_stock_model(model))
    assert type(stock).__module__.startswith('mmseg.')
    shapes = [{
        k: v.shape
        for k, v in m.state_dict().items()
    } for m in (ours, stock)]
    assert shapes[0] == shapes[1]


def test_pipeline():
    resize = dict(type='Resize', scale=(2048, 256), keep_ratio=True)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotationsByTable'), resize,
        dict(type='ResizeCenterCrop', size=512),
        dict(type='AreaRandomResizedCrop', size=512),
        dict(type='LoadAnnotations', reduce_zero_label=True),
        dict(type='PackSegInputs')
    ]
    stock = to_stock_pipeline(pipeline)
    assert stock == [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations'), resize,
        dict(type='ResizeShortestEdge', scale=512, max_size=100000),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs')
    ]
    init_default_scope('mmseg')
    image = dict(img=np.zeros((60, 90, 3), np.uint8))
    image = TRANSFORMS.build(stock[3]).transform(image)
    assert image['img'].shape == (512, 768, 3)
    stock[2]['scale'] = None
    assert resize['scale'] == (2048, 256)


def test_file(tiny_cfg, tmp_path):
    cfg = tiny_cfg(tmp_path)
    cfg.custom_imports = dict(
        imports=['mmseg_incremental', 'mmseg_incremental.models', 'os.path'],
        allow_failed_imports=False)
    path = tmp_path / 'deploy.py'
    write_deploy_config(build_step_cfg(cfg, 1), str(path))
    assert [p.name for p in tmp_path.iterdir()] == ['deploy.py']
    assert 'mmseg_incremental' not in path.read_text()
    deploy = Config.fromfile(str(path))
    assert deploy.custom_imports.imports == ['os.path']
    assert deploy.default_scope == 'mmseg'
    assert deploy.model.decode_head.num_classes == 20
    assert [t.type for t in deploy.test_pipeline
            ] == ['LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs']
    assert deploy.test_dataloader.dataset.pipeline == deploy.test_pipeline
