"""Orders in which the classes are introduced, and how a config names them."""
from typing import List, Optional, Sequence, Tuple, Union

import numpy as np

from mmseg_incremental.errors import IncrementalConfigError, close_match
from .labels import is_integer, is_list, to_labels

_ADE_B = (1, 9, 14, 18, 22, 24, 25, 27, 28, 29, 32, 38, 42, 45, 46, 47, 48, 49,
          54, 56, 58, 61, 62, 63, 69, 74, 75, 76, 77, 81, 82, 84, 90, 93, 96,
          100, 103, 104, 109, 117, 119, 121, 123, 128, 129, 130, 134, 135, 136,
          144, 3, 5, 6, 8, 10, 12, 13, 19, 21, 23, 26, 31, 33, 34, 36, 39, 40,
          43, 44, 53, 55, 57, 60, 70, 71, 80, 86, 87, 91, 95, 99, 101, 105,
          106, 107, 113, 116, 120, 125, 126, 131, 132, 133, 140, 142, 143, 147,
          148, 149, 150, 11, 16, 50, 64, 66, 73, 89, 92, 145, 146, 30, 37, 51,
          52, 72, 85, 98, 114, 115, 138, 2, 35, 65, 97, 110, 111, 112, 118,
          124, 141, 4, 7, 15, 41, 67, 78, 79, 88, 108, 139, 17, 20, 59, 68, 83,
          94, 102, 122, 127, 137)

_ADE_C = (5, 10, 11, 12, 13, 16, 17, 19, 20, 23, 27, 28, 30, 31, 32, 33, 37,
          43, 46, 52, 56, 57, 65, 66, 69, 70, 74, 76, 77, 79, 82, 83, 86, 87,
          105, 109, 110, 111, 119, 128, 129, 132, 133, 134, 138, 142, 143, 144,
          146, 147, 1, 6, 8, 9, 14, 24, 25, 26, 29, 34, 35, 36, 40, 41, 44, 45,
          48, 50, 54, 61, 63, 67, 68, 71, 78, 81, 84, 85, 90, 94, 95, 96, 97,
          98, 99, 102, 106, 112, 114, 115, 118, 120, 121, 123, 124, 126, 135,
          136, 139, 149, 3, 4, 7, 18, 39, 64, 73, 101, 113, 137, 47, 51, 55,
          60, 62, 80, 116, 127, 140, 148, 22, 42, 49, 58, 59, 89, 91, 92, 108,
          125, 2, 38, 53, 100, 104, 117, 130, 131, 141, 145, 15, 21, 72, 75,
          88, 93, 103, 107, 122, 150)

PUBLISHED_ORDERS = dict(ade_a=tuple(range(1, 151)), ade_b=_ADE_B, ade_c=_ADE_C)
"""Published orders of the 150 ADE20K classes: ``ade_a`` is the natural one,
``ade_b`` and ``ade_c`` are the two random orders of `MiB
<https://arxiv.org/abs/2002.00718>`_. One order a letter serves the tasks
100-50, 100-10 and 50-50: cut at these sizes, it gives the sets of classes
that MiB lists for each of them. Within a step the order only decides the
head indices."""


def get_class_order(
        class_order: Union[None, int, str, Sequence[Union[int, str]]],
        num_classes: int,
        class_names: Optional[Sequence[str]] = None) -> Tuple[int, ...]:
    """Resolve the ``class_order`` of a config.

    Args:
        class_order (int | str | Sequence[int | str], optional): None for the
            natural order 1, 2, ...; a seed, which gives
            ``numpy.random.RandomState(seed).permutation(num_classes) + 1``;
            a name in :data:`PUBLISHED_ORDERS`; or all foreground labels or
            names, before which the background may stand, as in the lists of
            `PLOP <https://arxiv.org/abs/2011.11390>`_.
        num_classes (int): The number of foreground classes.
        class_names (Sequence[str], optional): The ``num_classes + 1`` names,
            the background's first. Defaults to None.

    Returns:
        Tuple[int, ...]: A permutation of the labels 1 to ``num_classes``.

    Raises:
        IncrementalConfigError: If it is none of these, or not a permutation.
    """
    key = 'scenario.class_order'
    if class_order is None:
        return tuple(range(1, num_classes + 1))
    if is_integer(class_order) and 0 <= class_order < 2**32:
        random_state = np.random.RandomState(int(class_order))
        return tuple((random_state.permutation(num_classes) + 1).tolist())
    if isinstance(class_order, str) and class_order in PUBLISHED_ORDERS:
        order = list(PUBLISHED_ORDERS[class_order])
        key = f'{key}={class_order!r}'
        if len(order) != num_classes:
            raise IncrementalConfigError(
                f'{key} orders {len(order)} classes, but num_classes is '
                f'{num_classes}: use it with ADE20K only, or list the labels.')
        return tuple(order)
    if not is_list(class_order):
        raise IncrementalConfigError(
            f'{key}={class_order!r} is no class order: use None, a seed from '
            f'0 to 2**32 - 1, one of {sorted(PUBLISHED_ORDERS)} or a list of '
            f'all classes{close_match(class_order, list(PUBLISHED_ORDERS))}.')
    return _check_permutation(
        key, to_labels(key, class_order, num_classes, class_names),
        num_classes)


def _check_permutation(key: str, labels: List[int],
                       num_classes: int) -> Tuple[int, ...]:
    """Drop a leading background and see that every class is there."""
    order = labels[1:] if labels[:1] == [0] else labels
    if 0 in order:
        raise IncrementalConfigError(
            f'{key} holds the background (0) at position '
            f'{labels.index(0)}: leave it out or put it first, since it '
            'belongs to step 0.')
    missing = sorted(set(range(1, num_classes + 1)) - set(order))
    if missing:
        raise IncrementalConfigError(
            f'{key} lists {len(order)} of the {num_classes} foreground '
            f'classes: add the labels {missing}, or give the steps as a list '
            'in scenario.task if they should never be learned.')
    return tuple(order)
