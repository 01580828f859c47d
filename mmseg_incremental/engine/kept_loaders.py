"""Data loaders whose worker processes stay over the steps of a run."""
import copy
from typing import Any, Dict, List, Optional

import torch
from mmengine.runner import Runner
from mmseg.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import DataLoader, Dataset

from mmseg_incremental.datasets.step_datasets import StepDatasets, StepSampler

# A Runner does not say which of its loaders it asks for.
OF_RUNNER = ('train', 'val', 'test')


def workers_stay(cfg: dict) -> bool:
    """Whether a loader has worker processes that can serve other steps.

    Args:
        cfg (dict): Config of a data loader.

    Returns:
        bool: True with ``persistent_workers``, unless a part of the loader
        knows its dataset or its workers otherwise than through the sampler.
    """
    return bool(
        cfg.get('num_workers') and cfg.get('persistent_workers') and not any(
            cfg.get(key) for key in ('batch_sampler', 'worker_init_fn',
                                     'num_batch_per_epoch')))


def build_dataset(cfg: dict) -> Dataset:
    """Build a dataset with its files listed, as a Runner does.

    Args:
        cfg (dict): Its config, left unchanged.

    Returns:
        Dataset: The dataset, initialised even with ``lazy_init``.
    """
    dataset = DATASETS.build(copy.deepcopy(cfg))
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    return dataset


def stop_workers(loader: DataLoader) -> None:
    """Stop the worker processes of a loader, if it has any.

    Left to the garbage collector, which may come late or with the queues of
    the workers finalized, they would go on or be waited for five seconds.

    Args:
        loader (DataLoader): A loader that is not read any more.
    """
    iterator = loader._iterator
    loader._iterator = None
    if iterator is not None:
        iterator._shutdown_workers()


def _settings(cfg: dict) -> dict:
    """What a loader is built with beside the data of a step."""
    return {
        key: value
        for key, value in cfg.items() if key not in ('dataset', 'sampler')
    }


class KeptLoader:
    """A loader that turns from the data of one step to those of another.

    Args:
        purpose (str): What it is for.
        settings (dict): Its config without dataset and sampler.
    """

    def __init__(self, purpose: str, settings: dict) -> None:
        self.purpose = purpose
        self.settings = settings
        self.datasets: Dict[str, Dataset] = {}
        self.loader: Optional[DataLoader] = None

    def turn_to(self, cfg: dict, seed: Optional[int],
                diff_rank_seed: bool) -> DataLoader:
        """Give the loader the data of a step.

        Args:
            cfg (dict): Config of the step's data loader.
            seed (int, optional): Seed of the Runner.
            diff_rank_seed (bool): See :meth:`Runner.build_dataloader`.

        Returns:
            DataLoader: With its workers running.
        """
        if self.loader is None:
            self.loader = self._start(seed)
        key = str(cfg['dataset'])
        position = list(self.datasets).index(key)
        sampler = DATA_SAMPLERS.build(
            cfg['sampler'],
            default_args=dict(
                dataset=self.datasets[key],
                seed=None if diff_rank_seed else seed))
        self.loader.dataset.position = position
        self.loader.sampler.turn_to(sampler, position, seed)
        return self.loader

    def _start(self, seed: Optional[int]) -> DataLoader:
        loader = Runner.build_dataloader(
            dict(
                self.settings,
                dataset=StepDatasets(self.datasets.values()),
                sampler=StepSampler()),
            seed=seed)
        loader.dataset.init_worker = loader.worker_init_fn
        # Its random number is drawn by the sampler, see there.
        with torch.random.fork_rng(devices=[]):
            iter(loader)
        return loader

    def close(self) -> None:
        """Stop the workers, if they run."""
        if self.loader is not None:
            stop_workers(self.loader)
        self.loader = None


class KeptLoaders:
    """The loaders of a run, to be closed when it ends.

    .. code-block:: python

        with KeptLoaders() as loaders:
            loaders.add('train', step_0_cfg.train_dataloader)
            loaders.add('train', step_1_cfg.train_dataloader)
            loader = loaders.get(step_0_cfg.train_dataloader, seed=0)
    """

    def __init__(self) -> None:
        self._datasets: Dict[str, Dataset] = {}
        self._loaders: List[KeptLoader] = []

    def add(self, purpose: str, cfg: dict) -> Dataset:
        """Build the dataset of a step for workers to read.

        Args:
            purpose (str): 'train', 'val', 'test' or the name of something
                else. Of the loaders of one purpose one runs at a time.
            cfg (dict): Config of the step's loader. Steps whose configs
                differ in dataset and sampler alone share a loader.

        Returns:
            Dataset: The dataset, initialised.
        """
        key = str(cfg['dataset'])
        if key not in self._datasets:
            self._datasets[key] = build_dataset(cfg['dataset'])
        if self._find(cfg, purpose) is None:
            kept = self._of(purpose, _settings(cfg))
            # Workers that run have what was there when they began.
            kept.close()
            kept.datasets[key] = self._datasets[key]
        return self._datasets[key]

    def dataset(self, cfg: dict) -> Optional[Dataset]:
        """Look a dataset up.

        Args:
            cfg (dict): Config of the dataset.

        Returns:
            Dataset, optional: None if it has not been added.
        """
        return self._datasets.get(str(cfg))

    def get(self,
            cfg: dict,
            seed: Optional[int] = None,
            diff_rank_seed: bool = False,
            purpose: str = 'train') -> Optional[DataLoader]:
        """Give a Runner its loader.

        Args:
            cfg (dict): Config of a data loader.
            seed (int, optional): Seed of the Runner. Defaults to None.
            diff_rank_seed (bool): See :meth:`Runner.build_dataloader`.
                Defaults to False.
            purpose (str): What it is for; those of a Runner itself are not
                told apart. Defaults to 'train'.

        Returns:
            DataLoader, optional: The one whose workers stay, until it is
            asked for next; None if there is none of these settings with this
            dataset.
        """
        kept = self._find(cfg, purpose)
        if kept is None:
            return None
        for other in self._loaders:
            if other is not kept and other.purpose == kept.purpose:
                other.close()
        return kept.turn_to(cfg, seed, diff_rank_seed)

    def __contains__(self, loader: DataLoader) -> bool:
        return any(kept.loader is loader for kept in self._loaders)

    def _of(self, purpose: str, settings: dict) -> KeptLoader:
        """The loader of a purpose and settings, made where there is none."""
        for kept in self._loaders:
            if (kept.purpose, kept.settings) == (purpose, settings):
                return kept
        self._loaders.append(KeptLoader(purpose, settings))
        return self._loaders[-1]

    def _find(self, cfg: dict, purpose: str) -> Optional[KeptLoader]:
        """The loader of a step, if there is one."""
        purposes = OF_RUNNER if purpose in OF_RUNNER else (purpose, )
        key, settings = str(cfg['dataset']), _settings(cfg)
        return next((kept for kept in self._loaders if kept.purpose in purposes
                     and key in kept.datasets and kept.settings == settings),
                    None)

    def __enter__(self) -> 'KeptLoaders':
        return self

    def __exit__(self, *error: Any) -> None:
        for kept in self._loaders:
            kept.close()
