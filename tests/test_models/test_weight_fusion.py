import copy

import numpy as np
import pytest
import torch
from mmseg.registry import MODELS

from mmseg_incremental.models import EndpointsWeightFusion


def fuse(before: dict, after: dict, num_old: int, num_seen: int) -> dict:
    """Fuse and make sure that neither of the two has changed."""
    untouched = copy.deepcopy((before, after))
    fusion = MODELS.build(dict(type='EndpointsWeightFusion'))
    assert type(fusion) is EndpointsWeightFusion
    fused = fusion.fuse(before, after, num_old, num_seen)
    for tensors, copies in zip((before, after), untouched):
        assert list(tensors) == list(copies)
        for key, value in tensors.items():
            assert torch.equal(value, copies[key]), key
    return fused


@pytest.mark.parametrize('num_old, num_seen', [(16, 17), (16, 21), (1, 11),
                                               (101, 151), (4, 4)])
def test_equals_formula(num_old, num_seen):
    generator = torch.Generator().manual_seed(0)
    before = dict(a=torch.randn(2, 3, generator=generator).double())
    after = dict(a=torch.randn(2, 3, generator=generator).double())
    fused = fuse(before, after, num_old, num_seen)
    num_new = num_seen - num_old
    a = np.sqrt(num_new / (num_new + num_old))
    np.testing.assert_allclose(
        fused['a'], (1 - a) * before['a'].numpy() + a * after['a'].numpy(),
        rtol=1e-12,
        atol=1e-15)


def test_only_what_the_model_before_has(build_model, head_cfg):
    """Of a whole network, 3 new classes beside 1, so that a is 0.75**.5."""
    before = build_model(head_cfg(num_classes=1)).state_dict()
    after = build_model(head_cfg(num_classes=4)).state_dict()
    for state_dict in (before, after):
        for key, value in state_dict.items():
            if key.endswith('num_batches_tracked'):
                value.fill_(7 if state_dict is before else 9)
            else:
                value.copy_(torch.rand(value.shape))
    fused = fuse(before, after, 1, 4)
    assert list(fused) == list(after)
    kinds = set()
    for key, value in fused.items():
        kind = key.rsplit('.', 1)[-1]
        kinds.add(kind)
        if kind == 'num_batches_tracked':
            assert value == 9
            continue
        assert value.dtype == after[key].dtype
        rows = len(before[key])
        expected = (1 - .75**.5) * before[key].double() + (
            .75**.5 * after[key][:rows].double())
        torch.testing.assert_close(
            value[:rows].double(), expected, rtol=1e-6, atol=1e-7)
        if 'conv_seg' in key:
            assert rows == 1 and torch.equal(value[1:], after[key][1:])
        else:
            assert rows == len(value)
    # Statistics of BatchNorm are averaged as weights are.
    assert kinds == {
        'weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked'
    }


def test_single_numbers_and_other_types():
    before = dict(
        scale=torch.tensor(1.),
        half=torch.tensor([1., 2.]).half(),
        flag=torch.tensor([True, False]))
    after = dict(
        scale=torch.tensor(3.),
        half=torch.tensor([3., 4.]),
        flag=torch.tensor([False, False]),
        new=torch.tensor([5.]))
    fused = fuse(before, after, 3, 4)
    # a = 0.5
    assert fused['scale'].item() == 2
    assert fused['half'].tolist() == [2, 3]
    assert fused['half'].dtype == torch.float32
    assert fused['flag'].tolist() == [False, False]
    assert fused['new'].tolist() == [5]


def test_without_new_classes_the_old_weights_stay():
    before, after = dict(a=torch.rand(3)), dict(a=torch.rand(3))
    assert torch.equal(fuse(before, after, 4, 4)['a'], before['a'])
