"""Which classes a step has, how labels map and which images belong to it."""
from typing import Any, Dict, Optional, Sequence, Tuple, Union

import numpy as np

from mmseg_incremental.errors import IncrementalConfigError
from .labels import VOID, check_classes, is_integer, is_list
from .protocols import SETTINGS, check_choice, resolve_options
from .tasks import build_steps


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

    A protocol is a choice of ``future``, ``void`` and ``eval_images``, any of
    which can be set on its own; :data:`PROTOCOLS` says what each of the
    published ones chose.

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
            :func:`~mmseg_incremental.scenario.get_class_order`. Defaults
            to None, the natural order.
        class_names (Sequence[str], optional): The ``num_classes + 1`` names,
            the background's first. Defaults to None.
        protocol (str): 'plop', 'mib' or 'ssul'. Defaults to 'plop'.
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
        check_classes(num_classes, class_names)
        check_choice('setting', setting, SETTINGS)
        options = resolve_options(
            protocol,
            future=future,
            void=void,
            eval_images=eval_images,
            background=background)
        if class_names is not None:
            class_names = tuple(class_names)
        steps = build_steps(task, num_classes, class_order, class_names)
        if not isinstance(task, str):
            task = steps
        if is_list(class_order):
            class_order = sum(steps, ())
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
