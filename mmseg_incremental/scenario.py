"""Which classes a step has, how labels map and which images belong to it."""
import re
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from mmseg_incremental.class_orders import (close_match, get_class_order,
                                            is_integer, is_list, to_labels)
from mmseg_incremental.errors import IncrementalConfigError

VOID = 255
"""The label of pixels that no loss and no metric counts."""

SETTINGS = ('overlapped', 'disjoint', 'sequential')

PROTOCOLS = dict(
    plop=dict(future='background', void='ignore', eval_images='seen'),
    mib=dict(future='ignore', void='background', eval_images='seen'),
    ssul=dict(future='ignore', void='ignore', eval_images='all'))
"""What the published codes do with the pixels and images that the setting
leaves open."""

OPTIONS = dict(
    future=('background', 'ignore'),
    void=('ignore', 'background'),
    eval_images=('seen', 'all'),
    background=('evaluate', 'ignore'))


class ClassIncrementalScenario:
    """A class-incremental segmentation scenario: the one source of truth about
    classes.

    Dataset labels are 0 (background) to ``num_classes``, and 255 (void). The
    head index of a class is its position in ``seen(t)``; the background has
    index 0 and belongs to step 0. A scenario does not change once it is
    built.

    Settings, as defined in `MiB <https://arxiv.org/abs/2002.00718>`_ and, for
    the last one, in `SDR <https://arxiv.org/abs/2103.06342>`_:

    - ``overlapped``: a step trains on every image with a pixel of a new
      class; old and future classes are labelled background.
    - ``disjoint``: as above, without the images that hold a future class, so
      that every image belongs to one step.
    - ``sequential``: the images of ``disjoint``, old classes keep their label.

    Protocols, each a choice of ``future``, ``void`` and ``eval_images``, any
    of which can be set on its own:

    - ``plop``: background, ignore, seen. `PLOP
      <https://arxiv.org/abs/2011.11390>`_, RCIL, EWF; DKD on VOC.
    - ``mib``: ignore, background, seen. MiB and SDR. On ADE20K MiB also
      leaves out the background: ``background='ignore'``.
    - ``ssul``: ignore, ignore, all. `SSUL <https://arxiv.org/abs/2106.11562>`_
      evaluates every image at every step.

    All of them agree at the last step. Their means over steps do not compare.

    Args:
        num_classes (int): The number of foreground classes, 1 to 254.
        task (str | Sequence[Sequence[int | str]]): ``'B-I'``, B base classes
            and then I a step (``'15-1'``; MiB's ``'15-5s'`` is an alias);
            ``'offline'``, all classes in one step; or the steps, each a list
            of foreground names or labels. Classes that no step lists are
            never learned: they count as background, in training also for the
            choice of images.
        setting (str): One of the settings above. Defaults to 'overlapped'.
        class_order (int | str | Sequence[int | str], optional): The order in
            which a named task introduces the classes, see
            :func:`~mmseg_incremental.class_orders.get_class_order`. Defaults
            to None, the natural order.
        class_names (Sequence[str], optional): The ``num_classes + 1`` names,
            the background's first. Defaults to None.
        protocol (str): One of the protocols above. Defaults to 'plop'.
        future (str, optional): What future and never learned classes are in
            evaluation, 'background' or 'ignore'. Defaults to None, the
            protocol's choice.
        void (str, optional): What void pixels are in training, 'ignore' or
            'background'; in evaluation they are ignored. Defaults to None,
            the protocol's choice.
        eval_images (str, optional): Which images evaluate a step, 'seen'
            (those with a pixel of a seen foreground class) or 'all'. Defaults
            to None, the protocol's choice.
        background (str): Whether the background is a class of the evaluation,
            'evaluate' or 'ignore'; ignored with it is all that counts as
            background. Defaults to 'evaluate'.

    Raises:
        IncrementalConfigError: If a value is unknown, the task does not fit
            the number of classes, or a class is unknown, missing or repeated.

    Example:
        >>> scenario = ClassIncrementalScenario(num_classes=20, task='15-1')
        >>> len(scenario)
        6
        >>> scenario.new(1)
        (16,)
        >>> scenario.label_map(1)[16], scenario.label_map(1)[3]
        (16, 0)
    """

    def __init__(self,
                 num_classes: int,
                 task: Union[str, Sequence[Sequence[Union[int, str]]]],
                 setting: str = 'overlapped',
                 class_order: Union[None, int, str,
                                    Sequence[Union[int, str]]] = None,
                 class_names: Optional[Sequence[str]] = None,
                 protocol: str = 'plop',
                 future: Optional[str] = None,
                 void: Optional[str] = None,
                 eval_images: Optional[str] = None,
                 background: str = 'evaluate') -> None:
        _check_classes(num_classes, class_names)
        _check_choice('setting', setting, SETTINGS)
        options = _resolve_options(
            protocol,
            future=future,
            void=void,
            eval_images=eval_images,
            background=background)
        if class_names is not None:
            class_names = tuple(class_names)
        if isinstance(task, str):
            order = get_class_order(class_order, num_classes, class_names)
            steps = _cut(order, _step_sizes(task, num_classes))
        else:
            _check_no_order(class_order)
            steps = _explicit_steps(task, num_classes, class_names)
            task = steps
        if is_list(class_order):
            class_order = order
        elif is_integer(class_order):
            class_order = int(class_order)
        steps = ((0, ) + steps[0], ) + steps[1:]
        # through __dict__, as __setattr__ refuses
        self.__dict__.update(
            num_classes=int(num_classes),
            task=task,
            setting=setting,
            class_order=class_order,
            class_names=class_names,
            protocol=protocol,
            _options=options,
            _steps=steps)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f'{type(self).__name__} cannot be changed: build a new one with '
            'the keyword arguments of to_dict()')

    def __len__(self) -> int:
        """int: The number of steps."""
        return len(self._steps)

    def __repr__(self) -> str:
        task = self.task if isinstance(self.task, str) else 'custom'
        sizes = [len(step) for step in self._steps]
        options = ', '.join(f'{k}={v!r}' for k, v in self.conventions.items())
        return (f'{type(self).__name__}(num_classes={self.num_classes}, '
                f'task={task!r}, setting={self.setting!r}, '
                f'classes a step (with background): {sizes}, {options})')

    def new(self, t: int) -> Tuple[int, ...]:
        """Labels introduced at step ``t``, in head order."""
        return self._steps[self._check_step(t)]

    def old(self, t: int) -> Tuple[int, ...]:
        """Labels seen before step ``t``, in head order."""
        return sum(self._steps[:self._check_step(t)], ())

    def seen(self, t: int) -> Tuple[int, ...]:
        """Labels seen up to step ``t``, in head order: old, then new."""
        return sum(self._steps[:self._check_step(t) + 1], ())

    def future(self, t: int) -> Tuple[int, ...]:
        """Labels introduced after step ``t``, in head order; those of no step
        are not among them."""
        return sum(self._steps[self._check_step(t) + 1:], ())

    def num_old(self, t: int) -> int:
        """Number of labels seen before step ``t``, background included."""
        return len(self.old(t))

    def names(self, labels: Sequence[int]) -> Tuple[str, ...]:
        """Names of dataset labels.

        Args:
            labels (Sequence[int]): Dataset labels, 0 to ``num_classes``.

        Returns:
            Tuple[str, ...]: Their ``class_names``, or ``class_<label>`` where
            the scenario has none.
        """
        if self.class_names is None:
            return tuple(f'class_{label}' for label in labels)
        return tuple(self.class_names[label] for label in labels)

    def label_map(self, t: int, train: bool = True) -> Dict[int, int]:
        """What the dataset labels become at step ``t``.

        Args:
            t (int): The step.
            train (bool): Whether for training, where old classes are hidden
                unless the setting is sequential, or for evaluation, where all
                seen classes are labelled. Defaults to True.

        Returns:
            Dict[int, int]: Head index, or 255 for ignored, of every label
            from 0 to ``num_classes``; of 255 too where void pixels count as
            background.
        """
        seen = self.seen(t)
        hide_old = train and self.setting != 'sequential'
        known = self.new(t) if hide_old else seen
        ignore_rest = not train and self._options['future'] == 'ignore'
        rest = VOID if ignore_rest else 0
        mapping = dict.fromkeys(range(self.num_classes + 1), rest)
        mapping.update((label, seen.index(label)) for label in known)
        if train:
            if self._options['void'] == 'background':
                mapping[VOID] = 0
        elif self._options['background'] == 'ignore':
            # index 0 is also what future classes get as background, and they
            # must not make up a class of their own
            mapping = {k: v or VOID for k, v in mapping.items()}
        return mapping

    def select(self,
               presence: np.ndarray,
               t: int,
               train: bool = True) -> np.ndarray:
        """The images of step ``t``.

        Training images hold a pixel of a new foreground class and, unless the
        setting is overlapped, none of a future class. The whole mask decides,
        before any crop.

        Args:
            presence (np.ndarray): Bool, shape (num_images, num_classes + 1):
                whether the mask of an image holds a dataset label.
            t (int): The step.
            train (bool): Whether for training or for evaluation, where
                ``eval_images`` decides. Defaults to True.

        Returns:
            np.ndarray: int64, the ascending indices of the images.

        Raises:
            IncrementalConfigError: If the shape of ``presence`` is wrong.
        """
        presence = np.asarray(presence, dtype=bool)
        if presence.ndim != 2 or presence.shape[1] != self.num_classes + 1:
            raise IncrementalConfigError(
                f'presence has shape {presence.shape}, but num_classes='
                f'{self.num_classes} wants (num_images, '
                f'{self.num_classes + 1}): give one row an image and one '
                'column a dataset label, the background first, without void.')
        classes = [c for c in (self.new(t) if train else self.seen(t)) if c]
        if not train and self._options['eval_images'] == 'all':
            keep = np.ones(len(presence), dtype=bool)
        else:
            keep = presence[:, classes].any(axis=1)
        if train and self.setting != 'overlapped':
            keep &= ~presence[:, list(self.future(t))].any(axis=1)
        return np.flatnonzero(keep).astype(np.int64)

    def joint(self) -> 'ClassIncrementalScenario':
        """The scenario that learns all classes of this one in a single step,
        in the same order and with the same options: the upper bound."""
        if isinstance(self.task, str):
            task = 'offline'
        else:
            task = (sum(self.task, ()), )
        return type(self)(**dict(self.to_dict(), task=task))

    @property
    def conventions(self) -> Dict[str, str]:
        """Dict[str, str]: The conventions that a result depends on: the
        protocol's name, and ``future``, ``void``, ``eval_images`` and
        ``background`` as they are in force."""
        return dict(protocol=self.protocol, **self._options)

    def to_dict(self) -> Dict[str, Any]:
        """Keyword arguments, plain enough for JSON, that build this scenario
        again."""
        task, order, names = self.task, self.class_order, self.class_names
        return dict(
            num_classes=self.num_classes,
            task=task if isinstance(task, str) else [list(s) for s in task],
            setting=self.setting,
            class_order=list(order) if isinstance(order, tuple) else order,
            class_names=None if names is None else list(names),
            **self.conventions)

    def _check_step(self, t: int) -> int:
        if not is_integer(t) or not 0 <= t < len(self):
            raise IncrementalConfigError(
                f'step {t!r} does not exist: task {self.task!r} with '
                f'{self.num_classes} classes has the steps 0 to '
                f'{len(self) - 1}, use one of these.')
        return int(t)


def _check_classes(num_classes: int,
                   class_names: Optional[Sequence[str]]) -> None:
    """See that labels fit into a uint8 mask and that names are usable."""
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


def _check_choice(key: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise IncrementalConfigError(
            f'scenario.{key}={value!r} is unknown: use one of '
            f'{", ".join(map(repr, allowed))}{close_match(value, allowed)}.')


def _resolve_options(protocol: str, **given: Optional[str]) -> Dict[str, str]:
    """The options that are given, the others as the protocol has them."""
    _check_choice('protocol', protocol, tuple(PROTOCOLS))
    options = dict(PROTOCOLS[protocol])
    options.update((k, v) for k, v in given.items() if v is not None)
    for key, allowed in OPTIONS.items():
        _check_choice(key, options.get(key), allowed)
    return options


def _check_no_order(class_order: Any) -> None:
    if class_order is not None:
        raise IncrementalConfigError(
            f'scenario.class_order={class_order!r} cannot be used where '
            'scenario.task lists the steps: the lists are the order, remove '
            'class_order.')


def _step_sizes(task: str, num_classes: int) -> List[int]:
    """Numbers of foreground classes a step of a named task."""
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


def _cut(order: Tuple[int, ...],
         sizes: Sequence[int]) -> Tuple[Tuple[int, ...], ...]:
    """Cut a class order into steps."""
    ends = np.cumsum(sizes).tolist()
    return tuple(order[end - size:end] for end, size in zip(ends, sizes))


def _explicit_steps(
        task: Any, num_classes: int,
        class_names: Optional[Sequence[str]]) -> Tuple[Tuple[int, ...], ...]:
    """Foreground labels of the steps that a config lists."""
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
    return _cut(tuple(labels), [len(step) for step in task])
