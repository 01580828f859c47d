import copy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_incremental.models import teacher

BACKBONES = {
    'ResNetV1c':
    None,
    'MobileNetV2':
    dict(type='MobileNetV2', widen_factor=0.25),
    'MixVisionTransformer':
    dict(
        type='MixVisionTransformer',
        embed_dims=8,
        num_layers=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1]),
    'SwinTransformer':
    dict(
        type='SwinTransformer',
        embed_dims=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 1, 1],
        window_size=2),
}
CHANNELS = dict(
    ResNetV1c=32, MobileNetV2=80, MixVisionTransformer=8, SwinTransformer=64)


@pytest.fixture
def build(build_model, head_cfg):
    """A segmentor whose BatchNorm layers are not the identity."""

    def build(name='ResNetV1c', head='ASPPHead'):
        options = {}
        if BACKBONES[name] is not None:
            options['backbone'] = BACKBONES[name]
        head_options = dict(dilations=(1, 2)) if head == 'ASPPHead' else {}
        model = build_model(
            head_cfg(head, in_channels=CHANNELS[name], **head_options),
            **options)
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                nn.init.uniform_(module.running_mean, -1, 1)
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.uniform_(module.weight, 0.5, 2)
                nn.init.uniform_(module.bias, -1, 1)
        return model.eval()

    return build


@pytest.mark.parametrize('head', ['ASPPHead', 'FCNHead'])
@pytest.mark.parametrize('name', BACKBONES)
def test_folded(name, head, build, images):
    model = build(name, head)
    before = copy.deepcopy(model.state_dict())
    folded = teacher.fold_batch_norm(model)
    assert folded is not model
    assert not any(isinstance(m, _BatchNorm) for m in folded.modules())
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    with torch.no_grad():
        logits, others = (m(images, mode='tensor') for m in (model, folded))
    assert logits.abs().max() > 0.01
    torch.testing.assert_close(
        others, logits, rtol=0, atol=1e-4 * float(logits.abs().max()))


class Misleading(nn.Module):
    """A convolution beside a BatchNorm layer that does not read it."""

    def __init__(self, head):
        super().__init__()
        self.conv = nn.Conv2d(7, 7, 1)
        self.norm = nn.BatchNorm2d(7)
        nn.init.constant_(self.norm.weight, 3)
        self.head = head

    def forward(self, features):
        logits = self.head(features)
        return self.norm(logits) + self.conv(logits)


@pytest.mark.parametrize('small', [False, True])
def test_other_order_is_left_alone(small, build, monkeypatch):
    model = build()
    if small:
        # The network cannot read such a picture.
        monkeypatch.setattr(teacher, 'PROBE_SIZE', 0)
        match = 'comparing raises'
    else:
        head = Misleading(model.decode_head)
        head.align_corners = False
        model.decode_head = head.eval()
        match = 'its logits differ by'
    messages = []
    monkeypatch.setattr(teacher, 'print_log',
                        lambda message, **kwargs: messages.append(message))
    assert teacher.fold_batch_norm(model) is model
    assert len(messages) == 1 and match in messages[0]


def test_compiled(build, images):
    model = build()
    calls = []

    def backend(graph, inputs):
        calls.append(graph)
        return graph.forward

    with torch.no_grad():
        (_, _, logits), = model.forward_heads(model.extract_feat(images))
        teacher.compile_teacher(model, False)
        assert model.backbone._compiled_call_impl is None
        teacher.compile_teacher(model, dict(backend=backend))
        (_, _, others), = model.forward_heads(model.extract_feat(images))
    assert torch.equal(others, logits)
    assert len(calls) >= 2
