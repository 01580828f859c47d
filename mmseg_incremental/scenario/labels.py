"""Dataset labels, and what a config may write in their place."""
from numbers import Integral
from typing import Any, List, Optional, Sequence, Union

import numpy as np

from mmseg_incremental.errors import IncrementalConfigError, close_match

VOID = 255
"""The label of pixels that no loss and no metric counts."""


def is_integer(value: Any) -> bool:
    """Whether ``value`` is an integer, of Python or numpy, and not a bool."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_list(value: Any) -> bool:
    """Whether ``value`` is an ordered collection other than a string."""
    return isinstance(
        value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes))


def check_classes(num_classes: int,
                  class_names: Optional[Sequence[str]]) -> None:
    """See that labels fit into a uint8 mask and that names are usable.

    Args:
        num_classes (int): The number of foreground classes.
        class_names (Sequence[str], optional): The names, the background's
            first.

    Raises:
        IncrementalConfigError: If the number is not from 1 to 254, or the
            names are not ``num_classes + 1`` different strings.
    """
    if not is_integer(num_classes) or not 1 <= num_classes < VOID:
        raise IncrementalConfigError(
            f'scenario.num_classes={num_classes!r} is no number of classes: '
            f'give the foreground classes as an integer from 1 to {VOID - 1}.')
    if class_names is None:
        return
    if not is_list(class_names) or len(class_names) != num_classes + 1:
        given = (f'has {len(class_names)} names'
                 if is_list(class_names) else f'is {class_names!r}')
        raise IncrementalConfigError(
            f'scenario.class_names {given}, but num_classes='
            f'{num_classes} wants {num_classes + 1}: list the background '
            'first, then every foreground class.')
    for name in class_names:
        if not isinstance(name, str) or list(class_names).count(name) > 1:
            raise IncrementalConfigError(
                f'scenario.class_names holds {name!r}, which is no string or '
                'not unique: give every class a name of its own.')


def to_labels(key: str, classes: Sequence[Union[int, str]], num_classes: int,
              class_names: Optional[Sequence[str]]) -> List[int]:
    """Turn class names or dataset labels into distinct dataset labels.

    Args:
        key (str): The config key the classes come from, for the messages.
        classes (Sequence[int | str]): Names or labels, the background
            included where it is given.
        num_classes (int): The number of foreground classes.
        class_names (Sequence[str], optional): The ``num_classes + 1`` names,
            the background's first. Needed where ``classes`` has names.

    Returns:
        List[int]: The labels, 0 to ``num_classes``, in the given order.

    Raises:
        IncrementalConfigError: If a class is unknown or listed twice.
    """
    labels: List[int] = []
    for item in classes:
        if is_integer(item) and 0 <= item <= num_classes:
            label = int(item)
        elif isinstance(item, str) and item in (class_names or ()):
            label = list(class_names).index(item)
        else:
            allowed = (f'a label from 1 to {num_classes}' +
                       (' or one of class_names' if class_names else
                        ' (names need class_names, which is not set)'))
            raise IncrementalConfigError(
                f'{key} holds {item!r}, which is no class of this data set: '
                f'use {allowed}{close_match(item, class_names or ())}.')
        if label in labels:
            raise IncrementalConfigError(
                f'{key} holds {item!r} twice: list every class once.')
        labels.append(label)
    return labels
