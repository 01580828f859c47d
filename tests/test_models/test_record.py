import copy

import pytest
import torch
from mmseg.models.backbones import ResNet
from torch import nn

from mmseg_incremental.models.record import recording

BN = dict(type='BN')
RESNETS = {
    'basic':
    dict(type='ResNetV1c', depth=18, stem_channels=4),
    'bottleneck':
    dict(type='ResNet', depth=50, stem_channels=4),
    'some_stages':
    dict(type='ResNetV1c', depth=18, stem_channels=4, out_indices=(1, 3)),
    'checkpointed':
    dict(type='ResNetV1c', depth=18, stem_channels=4, with_cp=True),
}
MOBILENET = dict(type='MobileNetV2', widen_factor=0.1, out_indices=(1, 6))
MIT = dict(
    type='MixVisionTransformer',
    embed_dims=4,
    num_layers=(1, 1, 1, 1),
    num_heads=(1, 1, 1, 1))


@pytest.fixture(params=RESNETS)
def resnet(request, build_model, head_cfg):
    """A segmentor in training, with dropout."""
    cfg = dict(RESNETS[request.param], base_channels=4, norm_cfg=BN)
    channels = 128 if cfg['depth'] == 50 else 32
    head = head_cfg(in_channels=channels, in_index=-1, dropout_ratio=.5)
    model = build_model(head, backbone=cfg)
    assert isinstance(model.backbone, ResNet)
    return model.train()


def run(model, images):
    """Features and logits, the same random numbers every time."""
    torch.manual_seed(0)
    features = model.extract_feat(images)
    return features, model.decode_head(features)


def check_nothing_is_left(model):
    for module in model.modules():
        assert not module._forward_hooks, type(module)
        assert not module._forward_pre_hooks, type(module)
        if isinstance(module, nn.ReLU):
            assert module.inplace


def last_block_before_relu(block, inputs):
    """What a residual block adds up."""
    outputs = torch.relu(block.norm1(block.conv1(inputs)))
    outputs = block.norm2(block.conv2(outputs))
    if hasattr(block, 'conv3'):
        outputs = block.norm3(block.conv3(torch.relu(outputs)))
    assert block.downsample is None
    return inputs + outputs


def stages_by_hand(model, images):
    """Run the last block of every stage again, up to its last ReLU."""
    inputs, stages = [], []
    blocks = [
        getattr(model.backbone, f'layer{index + 1}')[-1]
        for index in model.backbone.out_indices
    ]
    handles = [
        block.register_forward_pre_hook(
            lambda module, args: inputs.append(args[0])) for block in blocks
    ]
    model.extract_feat(images)
    for handle, block, block_input in zip(handles, blocks, inputs):
        handle.remove()
        stages.append(last_block_before_relu(block, block_input))
    return stages


def test_resnet_stages_are_before_the_last_relu(resnet, images):
    model = resnet.eval()
    with recording(model.backbone, [], ['stages']) as recorded:
        features = model.extract_feat(images)
    assert isinstance(recorded.stages, tuple)
    expected = stages_by_hand(model, images)
    assert len(recorded.stages) == len(features) == len(expected)
    for stage, feature, by_hand in zip(recorded.stages, features, expected):
        assert stage.min() < 0 and torch.equal(stage.relu(), feature)
        torch.testing.assert_close(stage, by_hand)


def test_gradients_of_resnet_stages(resnet, images):
    """What is recorded is part of the graph, and not written over."""
    model = resnet.eval()
    with recording(model.backbone, [], ['stages']) as recorded:
        model.extract_feat(images)
    grads = []
    for stages in (recorded.stages, stages_by_hand(model, images)):
        model.zero_grad()
        sum(stage.square().sum() for stage in stages).backward()
        grads.append(
            [param.grad.clone() for param in model.backbone.parameters()])
    for grad, expected in zip(*grads):
        torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('fields', [('stages', ), ('embedding', ),
                                    ('stages', 'embedding', 'logits'), ()])
def test_outputs_stay_as_they_are(fields, resnet, images):
    model = resnet
    expected = run(model, images)
    resnet.zero_grad()
    expected[1].square().sum().backward()
    grads = [param.grad.clone() for param in model.parameters()]
    model.zero_grad()
    with recording(model.backbone, [model.decode_head], fields) as recorded:
        features, logits = run(model, images)
    logits.square().sum().backward()
    assert torch.equal(logits, expected[1])
    for feature, old in zip(features, expected[0]):
        assert torch.equal(feature, old)
    for param, grad in zip(model.parameters(), grads):
        assert torch.equal(param.grad, grad)
    assert bool(recorded.stages) == ('stages' in fields)
    assert bool(recorded.embeddings) == ('embedding' in fields)


@pytest.mark.parametrize(
    'backbone, channels', [(MOBILENET, 32), (MIT, 4)],
    ids=['mobilenet', 'mit'])
def test_other_backbones_give_their_outputs(backbone, channels, build_model,
                                            head_cfg, images):
    model = build_model(
        head_cfg(in_channels=channels, in_index=-1), backbone=backbone)
    expected = run(model, images)
    with recording(model.backbone, [model.decode_head],
                   ['stages', 'embedding']) as recorded:
        features, logits = run(model, images)
    assert torch.equal(logits, expected[1])
    assert len(recorded.stages) == len(features) == len(expected[0])
    for stage, feature, old in zip(recorded.stages, features, expected[0]):
        assert stage is feature and torch.equal(feature, old)
    assert recorded.embeddings[model.decode_head].shape[1] == 8
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks


@pytest.mark.parametrize('type, kwargs', [
    ('FCNHead', dict()),
    ('ASPPHead', dict(dilations=(1, 2))),
])
@pytest.mark.parametrize('dropout_ratio', [0, .5])
def test_embedding_is_before_dropout(dropout_ratio, type, kwargs, build_model,
                                     head_cfg, images):
    model = build_model(
        head_cfg(type, dropout_ratio=dropout_ratio, **kwargs),
        auxiliary_head=head_cfg(in_channels=16, in_index=2)).train()
    heads = [model.decode_head, model.auxiliary_head]
    features = model.extract_feat(images)
    with recording(model.backbone, heads, ['embedding']) as recorded:
        torch.manual_seed(0)
        logits = model.decode_head(features)
        model.auxiliary_head(features)
    assert set(recorded.embeddings) == set(heads)
    embedding = recorded.embeddings[model.decode_head]
    assert embedding.shape == (2, 8, 2, 2)
    torch.manual_seed(0)
    assert torch.equal(model.decode_head.cls_seg(embedding), logits)
    if dropout_ratio:
        assert not torch.equal(model.decode_head.conv_seg(embedding), logits)


def test_nothing_is_left_behind(resnet, images):
    resnet.eval()
    check_nothing_is_left(resnet)
    with recording(resnet.backbone, [resnet.decode_head],
                   ['stages', 'embedding']) as recorded:
        run(resnet, images)
        changed = [
            m for m in resnet.backbone.modules()
            if isinstance(m, nn.ReLU) and not m.inplace
        ]
        assert len(changed) == len(resnet.backbone.out_indices)
    check_nothing_is_left(resnet)
    stages = recorded.stages
    run(resnet, 2 * images)
    assert recorded.stages is stages


def test_nothing_is_left_behind_after_an_error(resnet, images):
    with pytest.raises(RuntimeError, match='channels'):
        with recording(resnet.backbone, [resnet.decode_head],
                       ['stages', 'embedding']):
            run(resnet, images[:, :2])
    check_nothing_is_left(resnet)
    # Nor if there is no such head to hook.
    with pytest.raises(AttributeError):
        with recording(resnet.backbone, [nn.Conv2d(1, 1, 1)],
                       ['stages', 'embedding']):
            raise AssertionError('never entered')
    check_nothing_is_left(resnet)


def test_two_networks_at_once(resnet, images):
    """Teacher and student do not see each other."""
    student = resnet.eval()
    teacher = copy.deepcopy(student)
    with recording(student.backbone, [], ['stages']) as learning:
        with recording(teacher.backbone, [], ['stages']) as taught:
            teacher.extract_feat(2 * images)
            student.extract_feat(images)
    for recorded, factor in ((learning, 1), (taught, 2)):
        expected = stages_by_hand(student, factor * images)
        for stage, by_hand in zip(recorded.stages, expected):
            torch.testing.assert_close(stage, by_hand)
