import copy

import numpy as np
import torch

from mmseg_incremental.models.weight_regularizers.tensors import (count_rows,
                                                                  is_part, pad,
                                                                  scale_to_one)


def test_old_rows_are_a_part_of_new_ones():
    new = torch.zeros(5, 3)
    assert is_part(torch.zeros(4, 3), new) and is_part(new, new)
    assert not is_part(torch.zeros(6, 3), new)
    assert not is_part(torch.zeros(4, 2), new)
    assert not is_part(torch.zeros(3), new)
    assert is_part(torch.tensor(1.), torch.tensor(2.))


def test_old_rows_take_the_place_of_the_first_new_ones():
    new = [torch.zeros(3, 2), torch.tensor(0.), torch.zeros(2)]
    old = [torch.ones(2, 2), torch.tensor(7.), torch.full((2, ), 3.)]
    padded = pad(old, new)
    assert [tensor.tolist() for tensor in padded] == [[[1, 1], [1, 1], [0, 0]],
                                                      7, [3, 3]]
    assert all(torch.all(tensor == 0) for tensor in new)


def test_rows_are_counted():
    assert count_rows(torch.zeros(4, 3)) == [4]
    assert count_rows(torch.tensor(1.)) == [1]


def test_scale_to_one():
    tensors = [
        torch.tensor([[-2., 0.], [6., 2.]]),
        torch.tensor([3e-30, 1e-30], dtype=torch.float64),
        torch.full((2, 3), 7.),
        torch.tensor(5.),
        torch.tensor([1e30, -1e30, 0.]),
    ]
    before = copy.deepcopy(tensors)
    scaled = scale_to_one(tensors)
    expected = [[[0., .25], [1., .5]], [2e-22, 0.], [[0.] * 3] * 2, 0.,
                [1., 0., .5]]
    for tensor, values, old, new in zip(tensors, expected, before, scaled):
        np.testing.assert_allclose(new, values, rtol=1e-6)
        assert new.dtype == tensor.dtype and torch.equal(tensor, old)


def test_parts_are_scaled_on_their_own():
    """Of a single number nothing is left, as in the official code."""
    tensors = [torch.tensor([[2., 4.], [6., 4.], [1., 9.], [5., 5.]])]
    scaled, = scale_to_one(tensors, [[2, 1, 1]])
    np.testing.assert_allclose(
        scaled, [[0., .5], [1., .5], [0., 1.], [0., 0.]], rtol=1e-6)
