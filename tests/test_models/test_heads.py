import math

import pytest
import torch
from mmengine.runner.checkpoint import load_checkpoint
from mmseg.registry import MODELS

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models import (GROWABLE_HEADS, INCREMENTAL_HEADS,
                                      IncrementalHeadMixin, heads)


@pytest.fixture
def stock_model(build_model, head_cfg):
    """A stock EncoderDecoder whose decode head is an incremental one."""

    def build(num_classes, name='FCNHead', **kwargs):
        head = head_cfg(name, num_classes=num_classes, num_convs=1, **kwargs)
        return build_model(head, type='EncoderDecoder')

    return build


def test_every_growable_head_is_registered():
    assert list(INCREMENTAL_HEADS) == [
        f'Incremental{n}' for n in GROWABLE_HEADS
    ]
    for name in GROWABLE_HEADS:
        head = MODELS.get(f'Incremental{name}')
        assert issubclass(head, IncrementalHeadMixin)
        assert issubclass(head, MODELS.get(name))
        # Reachable by its path, as pickling and documentation need.
        assert getattr(heads, head.__name__) is head


@pytest.mark.parametrize('classifier_init',
                         ['background', 'random', 'zeros', None])
def test_stock_segmentor_grows_on_load(classifier_init, stock_model, tmp_path):
    old = stock_model(7).decode_head.conv_seg
    path = str(tmp_path / 'old.pth')
    old_model = stock_model(7)
    old_model.decode_head.conv_seg = old
    torch.save(dict(state_dict=old_model.state_dict(), meta={}), path)
    kwargs = {} if classifier_init is None else dict(
        classifier_init=classifier_init)
    model = stock_model(9, 'IncrementalFCNHead', **kwargs)
    assert type(model).__name__ == 'EncoderDecoder'
    fresh = model.decode_head.conv_seg.weight[7:].clone()
    fresh_bias = model.decode_head.conv_seg.bias[7:].clone()

    # As `load_from` of MMSegmentation's own tools/train.py does.
    load_checkpoint(model, path, strict=False)
    grown = model.decode_head.conv_seg
    assert torch.equal(grown.weight[:7], old.weight)
    assert torch.equal(grown.bias[1:7], old.bias[1:])
    shared = (old.bias[:1] - math.log(3)).expand(2)
    weight, bias = dict(
        background=(old.weight[:1].expand(2, -1, -1, -1), shared),
        random=(fresh, fresh_bias),
        zeros=(torch.zeros(2, 8, 1, 1), torch.zeros(2)),
    )[classifier_init or 'background']
    assert torch.equal(grown.weight[7:], weight)
    torch.testing.assert_close(grown.bias[7:], bias)
    for key, value in old_model.state_dict().items():
        if 'conv_seg' not in key:
            assert torch.equal(model.state_dict()[key], value)


def test_no_parameter_is_renamed_or_added(stock_model):
    incremental = stock_model(7, 'IncrementalFCNHead')
    stock = stock_model(7)
    stock.load_state_dict(incremental.state_dict(), strict=True)


def test_incremental_head_in_incremental_segmentor(build_model, head_cfg):
    """The segmentor's initialiser holds for the head as well."""
    old = build_model(head_cfg(num_classes=7))
    model = build_model(
        head_cfg('IncrementalFCNHead', num_classes=9, num_convs=1),
        classifier_init='zeros')
    model.load_state_dict(old.state_dict(), strict=True)
    assert not model.decode_head.conv_seg.weight[7:].any()


def test_unknown_initialiser(head_cfg):
    with pytest.raises(
            IncrementalConfigError, match="classifier_init='mib' is unknown"):
        MODELS.build(head_cfg('IncrementalASPPHead', classifier_init='mib'))
