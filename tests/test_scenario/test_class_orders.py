import numpy as np
import pytest

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario import PUBLISHED_ORDERS, get_class_order

NAMES = ('background', 'cat', 'dog', 'horse')
# the last 50 classes of MiB's 100-50 tasks, which it lists in ascending order
LAST_50 = dict(
    ade_b=[
        2, 4, 7, 11, 15, 16, 17, 20, 30, 35, 37, 41, 50, 51, 52, 59, 64, 65,
        66, 67, 68, 72, 73, 78, 79, 83, 85, 88, 89, 92, 94, 97, 98, 102, 108,
        110, 111, 112, 114, 115, 118, 122, 124, 127, 137, 138, 139, 141, 145,
        146
    ],
    ade_c=[
        2, 3, 4, 7, 15, 18, 21, 22, 38, 39, 42, 47, 49, 51, 53, 55, 58, 59, 60,
        62, 64, 72, 73, 75, 80, 88, 89, 91, 92, 93, 100, 101, 103, 104, 107,
        108, 113, 116, 117, 122, 125, 127, 130, 131, 137, 140, 141, 145, 148,
        150
    ])


@pytest.mark.parametrize('name', ['ade_a', 'ade_b', 'ade_c'])
def test_published_orders_are_permutations(name):
    assert sorted(PUBLISHED_ORDERS[name]) == list(range(1, 151))
    assert get_class_order(name, 150) == PUBLISHED_ORDERS[name]


@pytest.mark.parametrize('name', ['ade_b', 'ade_c'])
def test_published_orders_cut_as_in_mib(name):
    order = PUBLISHED_ORDERS[name]
    assert sorted(order[100:]) == LAST_50[name]
    # both halves of the base classes and every step of ten are ascending
    cuts = [0, 50, 100, 110, 120, 130, 140, 150]
    for start, end in zip(cuts, cuts[1:]):
        assert list(order[start:end]) == sorted(order[start:end])
    assert list(order[:100]) != sorted(order[:100])


def test_class_order_natural():
    assert get_class_order(None, 3) == (1, 2, 3)


def test_class_order_seed():
    expected = np.random.RandomState(7).permutation(20) + 1
    assert get_class_order(7, 20) == tuple(expected)
    assert get_class_order(np.int64(7), 20) == tuple(expected)
    assert get_class_order(8, 20) != tuple(expected)


@pytest.mark.parametrize('order', [
    [3, 1, 2],
    [0, 3, 1, 2],
    (3, 1, 2),
    np.array([3, 1, 2]),
    ['horse', 'cat', 'dog'],
    ['background', 'horse', 1, 'dog'],
])
def test_class_order_list(order):
    result = get_class_order(order, 3, NAMES)
    assert result == (3, 1, 2)
    assert all(type(label) is int for label in result)


@pytest.mark.parametrize('order, message', [
    ([1, 2], r'lists 2 of the 3 .* labels \[3\]'),
    ([1, 2, 2, 3], 'holds 2 twice'),
    ([1, 'cat', 2, 3], "holds 'cat' twice"),
    ([1, 0, 2, 3], r'background \(0\) at position 1'),
    ([0, 1, 0, 2, 3], 'holds 0 twice'),
    ([1, 2, 4], 'holds 4, .* label from 1 to 3'),
    ([1, 2, -3], 'holds -3'),
    ([1, 2, 3.0], 'holds 3.0'),
    ([True, 2, 3], 'holds True'),
    (['cat', 'dog', 'hors'], "'hors', .*did you mean 'horse'"),
    ('ade_d', r"'ade_d' is no class order: .*did you mean 'ade_"),
    ('ade_b', "'ade_b' orders 150 classes, but num_classes is 3"),
    (-1, 'seed from 0'),
    (2**32, 'seed from 0'),
    (1.5, '1.5 is no class order'),
    (True, 'True is no class order'),
    ({1, 2, 3}, 'is no class order'),
])
def test_class_order_errors(order, message):
    with pytest.raises(IncrementalConfigError, match=message):
        get_class_order(order, 3, NAMES)
