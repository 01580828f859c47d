import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrizations

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


@pytest.mark.parametrize('name', BACKBONES)
def test_cast_weights_compute_as_autocasting(name, build, images):
    model = build(name)
    cast = copy.deepcopy(model)
    teacher.cast_weights(cast, torch.bfloat16)
    assert cast.decode_head.conv_seg.weight.dtype == torch.bfloat16
    kinds = {type(m) for m in model.modules() if 'Norm' in type(m).__name__}
    assert kinds and all(p.dtype == torch.float32
                         for m in cast.modules() if type(m) in kinds
                         for p in m.parameters())
    with torch.no_grad(), teacher.precision('cpu', torch.bfloat16):
        logits, others = (m(images, mode='tensor') for m in (model, cast))
    assert logits.dtype == torch.bfloat16
    assert torch.equal(logits, others)


def test_weights_that_are_used_otherwise_stay():

    class Standardised(nn.Conv2d):

        def forward(self, inputs):
            return inputs * self.weight.mean()

    model = nn.Sequential(
        Standardised(2, 2, 1), nn.Conv2d(2, 2, 1),
        parametrizations.weight_norm(nn.Conv2d(2, 2, 1)),
        nn.utils.spectral_norm(nn.Linear(2, 2)))
    teacher.cast_weights(model, None)
    assert model[1].weight.dtype == torch.float32
    teacher.cast_weights(model, torch.float16)
    for layer in (model[0], model[2], model[3]):
        assert {p.dtype for p in layer.parameters()} == {torch.float32}
    assert model[1].weight.dtype == torch.float16


def test_nan_of_any_head_is_a_failure(monkeypatch):
    logits = [torch.ones(2), torch.ones(3)]
    others = [torch.ones(2), torch.full((3, ), math.nan)]
    monkeypatch.setattr(teacher, '_logits_of_heads', [logits,
                                                      others].__getitem__)
    assert math.isnan(teacher._largest_gap(0, 1))


def test_weight_that_another_kind_of_layer_shares_stays():
    model = nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    teacher.cast_weights(model, torch.bfloat16)
    assert model[0].weight.dtype == torch.float32
    assert {p.dtype for p in model[1].parameters()} == {torch.float32}
    assert {p.dtype for p in model[2].parameters()} == {torch.bfloat16}


def test_coarse_arithmetic_does_not_prevent_it(build):
    folded = teacher.fold_batch_norm(build().bfloat16())
    assert not any(isinstance(m, _BatchNorm) for m in folded.modules())
    assert {p.dtype for p in folded.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize('rounding, dtypes', [
    (0, [torch.float32]),
    (1e-3, [torch.float32, torch.float64]),
])
def test_double_precision_decides(build, monkeypatch, rounding, dtypes):
    compared, compare = [], teacher._largest_gap

    def coarse(model, folded):
        compared.append(next(folded.parameters()).dtype)
        is_coarse = compared[-1] == torch.float32
        return compare(model, folded) + is_coarse * rounding

    monkeypatch.setattr(teacher, '_largest_gap', coarse)
    folded = teacher.fold_batch_norm(build())
    assert not any(isinstance(m, _BatchNorm) for m in folded.modules())
    assert {p.dtype for p in folded.parameters()} == {torch.float32}
    assert compared == dtypes


class Misleading(nn.Module):
    """A convolution beside a BatchNorm layer that does not read it."""

    def __init__(self, head):
        super().__init__()
        self.conv = nn.Conv2d(7, 7, 1)
        self.norm = nn.BatchNorm2d(7)
        nn.init.constant_(self.norm.weight, 3)
        self.head = head
        self.align_corners = False

    def forward(self, features):
        logits = self.head(features)
        return self.norm(logits) + self.conv(logits)


def small_picture(model, monkeypatch):
    """The network cannot read it."""
    monkeypatch.setattr(teacher, 'PROBE_SIZE', 0)
    return 'that raises RuntimeError'


def no_weights(model, monkeypatch):
    """There is nothing to fold for mmcv."""
    model.decode_head.extra = nn.Sequential(
        nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, affine=False))
    return 'that raises TypeError'


def misleading_head(model, monkeypatch):
    model.decode_head = Misleading(model.decode_head).eval()
    return 'the logits differ by'


def misleading_auxiliary_head(model, monkeypatch):
    model.auxiliary_head = Misleading(model.decode_head).eval()
    return 'the logits differ by'


@pytest.mark.parametrize(
    'spoil',
    [small_picture, no_weights, misleading_head, misleading_auxiliary_head])
def test_what_cannot_be_folded_is_left_alone(spoil, build, monkeypatch):
    model = build()
    match = spoil(model, monkeypatch)
    messages = []
    monkeypatch.setattr(teacher, 'print_log',
                        lambda message, **kwargs: messages.append(message))
    assert teacher.fold_batch_norm(model) is model
    assert len(messages) == 1 and match in messages[0]


class Drawing(nn.Module):
    """A head with random numbers in its forward pass, as LightHam has."""

    def __init__(self, head):
        super().__init__()
        self.head = head

    def forward(self, features):
        return self.head(features) * torch.rand(1)


def test_random_numbers(build):
    """They are those of before, and the same in both networks."""
    model = build()
    model.decode_head = Drawing(model.decode_head).eval()
    state = torch.get_rng_state()
    assert teacher.fold_batch_norm(model) is not model
    assert torch.equal(torch.get_rng_state(), state)


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
