"""Data loaders whose worker processes stay over the steps of a run."""
from typing import Any, Dict, List, Optional

import torch
from mmengine.runner import Runner
from mmseg.registry import DATA_SAMPLERS, DATASETS
from torch.utils.data import DataLoader, Dataset

from mmseg_incremental.datasets.step_datasets import StepDatasets, StepSampler


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


class KeptLoader:
    """The loader of one purpose, of training or of evaluation.

    It is built when a Runner asks for it and built anew when one asks with
    other settings, such as another batch size.
    """

    def __init__(self) -> None:
        self.datasets: Dict[str, Dataset] = {}
        self.loader: Optional[DataLoader] = None
        self._settings: Any = None

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
        settings = {
            key: value
            for key, value in cfg.items() if key not in ('dataset', 'sampler')
        }, seed
        if self.loader is None or settings != self._settings:
            self.close()
            self._start(cfg, seed)
            self._settings = settings
        key = str(cfg['dataset'])
        position = list(self.datasets).index(key)
        self.loader.dataset.position = position
        self.loader.sampler.turn_to(
            DATA_SAMPLERS.build(
                cfg['sampler'],
                default_args=dict(
                    dataset=self.datasets[key],
                    seed=None if diff_rank_seed else seed)), position)
        return self.loader

    def _start(self, cfg: dict, seed: Optional[int]) -> None:
        parts = dict(
            dataset=StepDatasets(self.datasets.values()),
            sampler=StepSampler())
        self.loader = Runner.build_dataloader({**cfg, **parts}, seed=seed)
        self.loader.dataset.init_worker = self.loader.worker_init_fn
        # Its random number is drawn by the sampler, see there.
        with torch.random.fork_rng(devices=[]):
            iter(self.loader)

    def close(self) -> None:
        """Stop the workers."""
        if self.loader is not None:
            self.loader._iterator = None
        self.loader = None


class KeptLoaders:
    """The loaders of a run, to be closed when it ends.

    .. code-block:: python

        with KeptLoaders() as loaders:
            loaders.add('train', step_0_cfg.train_dataloader.dataset)
            loaders.add('train', step_1_cfg.train_dataloader.dataset)
            loader = loaders.get(step_0_cfg.train_dataloader, seed=0)
    """

    def __init__(self) -> None:
        self._purposes: Dict[str, KeptLoader] = {}

    def add(self, purpose: str, cfg: dict) -> Dataset:
        """Build the dataset of a step for workers to read.

        Args:
            purpose (str): Datasets of one purpose share a loader.
            cfg (dict): Config of the dataset.

        Returns:
            Dataset: The dataset.
        """
        kept = self._purposes.setdefault(purpose, KeptLoader())
        # Workers that run have the datasets that were there when they began.
        kept.close()
        kept.datasets[str(cfg)] = DATASETS.build(cfg)
        return kept.datasets[str(cfg)]

    def dataset(self, cfg: dict) -> Optional[Dataset]:
        """Look a dataset up.

        Args:
            cfg (dict): Config of the dataset.

        Returns:
            Dataset, optional: None if it has not been added.
        """
        kept = self._find(cfg)
        return kept and kept.datasets[str(cfg)]

    def get(self,
            cfg: dict,
            seed: Optional[int] = None,
            diff_rank_seed: bool = False) -> Optional[DataLoader]:
        """Give a Runner its loader.

        Args:
            cfg (dict): Config of a data loader.
            seed (int, optional): Seed of the Runner. Defaults to None.
            diff_rank_seed (bool): See :meth:`Runner.build_dataloader`.
                Defaults to False.

        Returns:
            DataLoader, optional: The one whose workers stay, until it is
            asked for next; None if its dataset has not been added.
        """
        kept = self._find(cfg['dataset']) if workers_stay(cfg) else None
        return kept and kept.turn_to(cfg, seed, diff_rank_seed)

    def __contains__(self, loader: DataLoader) -> bool:
        return any(kept.loader is loader for kept in self._all())

    def _all(self) -> List[KeptLoader]:
        return list(self._purposes.values())

    def _find(self, cfg: Any) -> Optional[KeptLoader]:
        return next((k for k in self._all() if str(cfg) in k.datasets), None)

    def __enter__(self) -> 'KeptLoaders':
        return self

    def __exit__(self, *error: Any) -> None:
        for kept in self._all():
            kept.close()
