"""A Runner whose data loaders may be those of the step before."""
from typing import Optional, Union

from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from mmseg_incremental.datasets.step_datasets import StepSampler
from .kept_loaders import KeptLoaders, stop_workers


class StepRunner(Runner):
    """MMEngine's Runner, which takes loaders over where there are some.

    Attributes:
        loaders (KeptLoaders, optional): Loaders of the run. Defaults to None:
            all are built, as in MMEngine.
    """

    loaders: Optional[KeptLoaders] = None

    def build_dataloader(self,
                         dataloader: Union[DataLoader, dict],
                         seed: Optional[int] = None,
                         diff_rank_seed: bool = False) -> DataLoader:
        """Take a loader of the run, or build one.

        Args:
            dataloader (DataLoader or dict): A loader or its config.
            seed (int, optional): Seed of sampler and workers. Defaults to
                None.
            diff_rank_seed (bool): See :meth:`Runner.build_dataloader`.
                Defaults to False.

        Returns:
            DataLoader: The loader.
        """
        kept = None
        if self.loaders is not None and isinstance(dataloader, dict):
            kept = self.loaders.get(dataloader, seed, diff_rank_seed)
        if kept is not None:
            return kept
        return super().build_dataloader(dataloader, seed, diff_rank_seed)

    def load_or_resume(self) -> None:
        """Load or resume, after which it is known how much data is needed."""
        super().load_or_resume()
        loop = self._train_loop
        # Another loop may read more than a batch an iteration.
        if type(loop) is not IterBasedTrainLoop:
            return
        sampler = loop.dataloader.sampler
        if isinstance(sampler, StepSampler):
            # Where it cannot skip, what was trained is read once more.
            done = loop.iter if hasattr(sampler, 'skip') else 0
            sampler.limit = (loop.max_iters -
                             done) * loop.dataloader.batch_size


def release_workers(runner: Runner) -> None:
    """Stop the workers of a Runner.

    Args:
        runner (Runner): A runner that is done. Loaders that it has taken
            over keep their workers.
    """
    kept = getattr(runner, 'loaders', None) or ()
    for name in ('_train_loop', '_val_loop', '_test_loop'):
        loop = getattr(runner, name, None)
        if isinstance(loop, BaseLoop):
            loop.dataloader_iterator = None
            if loop.dataloader not in kept:
                stop_workers(loop.dataloader)
