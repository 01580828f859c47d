"""The data of all steps of a run, for worker processes that stay."""
from typing import (Any, Callable, Iterator, NamedTuple, Optional, Sequence,
                    Tuple)

import torch
from torch.utils.data import Dataset, Sampler, get_worker_info


class StepIndex(NamedTuple):
    """What a worker is asked for.

    Attributes:
        turn (int): How often a Runner has taken the data so far.
        seed (int, optional): Seed of that Runner.
        position (int): Which of the datasets.
        index (int): Index in it.
    """
    turn: int
    seed: Optional[int]
    position: int
    index: int


class StandIn:
    """Looks like the object that it stands for at the moment.

    MMEngine copies the config of a loader with all that is in it: this is
    handed on as it is.
    """

    # What the object itself has; all else is asked of the current one.
    own: Tuple[str, ...] = ()

    @property
    def current(self) -> Any:
        """Any: The object that this one looks like."""
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self.current)

    def __getattr__(self, name: str) -> Any:
        # Copies and pickles look for both before there is anything.
        if name.startswith('__') or name in self.own:
            raise AttributeError(name)
        return getattr(self.current, name)

    def __deepcopy__(self, memo: dict) -> 'StandIn':
        return self


class StepDatasets(StandIn, Dataset):
    """The datasets of several steps, of which one is the current one.

    A worker process gets all of them when it starts, so that it can stay when
    the next step begins. It takes its random numbers anew then, as one that
    starts with the step, so that a resumed run goes on with the same numbers.

    To the main process it looks like the current dataset. It cannot be
    changed there, as workers would not know it.

    Args:
        datasets (Sequence[Dataset]): One a step.
    """

    own = ('of_steps', 'position', 'init_worker', '_turn')

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        self.of_steps = list(datasets)
        self.position = 0
        self.init_worker: Optional[Callable[..., None]] = None
        self._turn = 0

    @property
    def dataset(self) -> Dataset:
        """Dataset: That of the current step."""
        return self.of_steps[self.position]

    current = dataset

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.own:
            raise AttributeError(
                f'{name!r} of a dataset cannot be set to {value!r} here, as '
                'its workers, which stay over all steps, would go on without '
                'it; set persistent_workers=False in the data loader.')
        super().__setattr__(name, value)

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, StepIndex):
            return self.dataset[index]
        if index.turn != self._turn:
            self._turn = index.turn
            worker = get_worker_info()
            if worker is not None and self.init_worker is not None:
                self.init_worker(worker.id, seed=index.seed)
        return self.of_steps[index.position][index.index]


class StepSampler(StandIn, Sampler):
    """The sampler of the current step, for :class:`StepDatasets`.

    It has what that sampler has, such as ``set_epoch`` or ``skip``.

    Attributes:
        limit (int, optional): How many indices an iteration gives at most, so
            that workers load nothing that is not read. Where MMEngine begins
            to iterate before it can be set, as that of OpenMMLab does, the
            first batches are loaded without. Defaults to None, as many as the
            sampler has.
    """

    own = ('sampler', 'limit', '_turn', '_is_new')

    def __init__(self) -> None:
        self.sampler: Sequence[int] = ()
        self.limit: Optional[int] = None
        self._turn = StepIndex(0, None, 0, 0)
        self._is_new = False

    @property
    def current(self) -> Sequence[int]:
        """Sequence[int]: The sampler of the step."""
        return self.sampler

    def turn_to(self, sampler: Sampler, position: int,
                seed: Optional[int]) -> None:
        """Go on with another step, or with the same one from its start.

        Args:
            sampler (Sampler): Gives indices of the step's dataset.
            position (int): Which dataset that is.
            seed (int, optional): Of the workers.
        """
        self.sampler, self.limit = sampler, None
        self._turn = StepIndex(self._turn.turn + 1, seed, position, 0)
        self._is_new = True

    def __iter__(self) -> Iterator[StepIndex]:
        if self._is_new:
            self._is_new = False
            # Workers that start take a number for their seed. A run that is
            # resumed later starts its own, and needs the same ones after it.
            torch.empty((), dtype=torch.int64).random_()
        turn = self._turn
        for count, index in enumerate(self.sampler):
            yield turn._replace(index=index)
            if self.limit is not None and count + 1 >= self.limit:
                return
