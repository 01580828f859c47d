"""The steps of a task: named ones such as 15-1, and those a config lists."""
import re
from typing import Any, List, Optional, Sequence, Tuple, Union

import numpy as np

from mmseg_incremental.errors import IncrementalConfigError, close_match
from .class_orders import get_class_order
from .labels import is_list, to_labels


def build_steps(
    task: Union[str, Sequence[Sequence[Union[int, str]]]],
    num_classes: int,
    class_order: Union[None, int, str, Sequence[Union[int, str]]] = None,
    class_names: Optional[Sequence[str]] = None
) -> Tuple[Tuple[int, ...], ...]:
    """Foreground labels of every step, in head order.

    Args:
        task (str | Sequence[Sequence[int | str]]): A named task, or the
            steps, each a list of foreground names or labels.
        num_classes (int): The number of foreground classes.
        class_order (int | str | Sequence[int | str], optional): The order in
            which a named task introduces the classes, see
            :func:`get_class_order`. Defaults to None, the natural order.
        class_names (Sequence[str], optional): The ``num_classes + 1`` names,
            the background's first. Defaults to None.

    Returns:
        Tuple[Tuple[int, ...], ...]: The labels of each step, the background
        in none of them.

    Raises:
        IncrementalConfigError: If the task is unknown or does not fit the
            number of classes, a class is unknown, missing or repeated, or
            steps and an order are both given.
    """
    if isinstance(task, str):
        order = get_class_order(class_order, num_classes, class_names)
        return cut_order(order, step_sizes(task, num_classes))
    if class_order is not None:
        raise IncrementalConfigError(
            f'scenario.class_order={class_order!r} cannot be used where '
            'scenario.task lists the steps: the lists are the order, remove '
            'class_order.')
    return explicit_steps(task, num_classes, class_names)


def step_sizes(task: str, num_classes: int) -> List[int]:
    """Numbers of foreground classes a step of a named task.

    Args:
        task (str): ``'B-I'``, B base classes and then I a step (``'15-5s'``
            is MiB's name of ``'15-1'``), or ``'offline'``, all classes in
            one step.
        num_classes (int): The number of foreground classes.

    Returns:
        List[int]: One number a step, which add up to ``num_classes``.

    Raises:
        IncrementalConfigError: If the name is unknown or does not fit the
            number of classes.
    """
    if task == 'offline':
        return [num_classes]
    match = re.fullmatch(r'(\d+)-(\d+)', '15-1' if task == '15-5s' else task)
    if match is None:
        candidates = ['offline'] + re.findall(r'\d+-\d+', task)
        raise IncrementalConfigError(
            f"scenario.task={task!r} is no task: use 'B-I' (B base classes, "
            "then I a step, such as '15-1'), 'offline' or a list of steps"
            f'{close_match(task, candidates)}.')
    base, increment = map(int, match.groups())
    rest = num_classes - base
    if base < 1 or rest < 1:
        raise IncrementalConfigError(
            f'scenario.task={task!r} starts with {base} of {num_classes} '
            f"classes: start with 1 to {num_classes - 1}, or use 'offline' "
            'to learn all of them in one step.')
    if increment < 1 or rest % increment:
        divisors = [i for i in range(1, rest + 1) if rest % i == 0]
        raise IncrementalConfigError(
            f'scenario.task={task!r} leaves {rest} of {num_classes} classes '
            f'after the base ones, which steps of {increment} do not fill: '
            f'use an increment of {", ".join(map(str, divisors))}, or list '
            'the steps.')
    return [base] + [increment] * (rest // increment)


def cut_order(order: Tuple[int, ...],
              sizes: Sequence[int]) -> Tuple[Tuple[int, ...], ...]:
    """Cut a class order into steps.

    Args:
        order (Tuple[int, ...]): Foreground labels.
        sizes (Sequence[int]): How many of them each step has.

    Returns:
        Tuple[Tuple[int, ...], ...]: The labels of each step.
    """
    ends = np.cumsum(sizes).tolist()
    return tuple(order[end - size:end] for end, size in zip(ends, sizes))


def explicit_steps(
        task: Any, num_classes: int,
        class_names: Optional[Sequence[str]]) -> Tuple[Tuple[int, ...], ...]:
    """Foreground labels of the steps that a config lists.

    Args:
        task (Any): The steps, each a list of foreground names or labels.
        num_classes (int): The number of foreground classes.
        class_names (Sequence[str], optional): The ``num_classes + 1`` names,
            the background's first.

    Returns:
        Tuple[Tuple[int, ...], ...]: The labels of each step.

    Raises:
        IncrementalConfigError: If it is no list of steps, or a class is
            unknown, repeated or the background.
    """
    if not is_list(task) or not all(is_list(step) for step in task):
        raise IncrementalConfigError(
            f'scenario.task={task!r} is neither a name nor a list of steps: '
            "use a name such as '15-1', or a list with a list of classes a "
            "step, such as [['cat', 'dog'], ['horse']].")
    if not len(task) or not all(len(step) for step in task):
        raise IncrementalConfigError(
            f'scenario.task={task!r} has no step or a step without classes: '
            'list at least one foreground class a step.')
    flat = [item for step in task for item in step]
    labels = to_labels('scenario.task', flat, num_classes, class_names)
    if 0 in labels:
        raise IncrementalConfigError(
            f'scenario.task lists the background ({flat[labels.index(0)]!r}): '
            'leave it out, it belongs to step 0.')
    return cut_order(tuple(labels), [len(step) for step in task])
