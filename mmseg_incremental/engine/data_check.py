"""Whether the data of a run is there, and the loaders that read it."""
import copy
import os.path as osp
from typing import List, Sequence, Tuple

from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset

from mmseg_incremental.datasets.read_once import read_once
from mmseg_incremental.errors import IncrementalConfigError
from .hooks.label_completion_hook import PURPOSE, completion_loader
from .kept_loaders import KeptLoaders, build_dataset, workers_stay
from .memory import freed
from .scenario_config import leaf_datasets
from .step_config import build_step_cfg, final_checkpoint


def check_data(cfg: Config, steps: Sequence[int]) -> KeptLoaders:
    """Build the datasets of all steps, to see that their files exist.

    Args:
        cfg (Config): Config of the run.
        steps (Sequence[int]): The steps to run.

    Returns:
        KeptLoaders: The loaders of the steps, with the datasets that their
        workers will read. What a trained step was trained on is checked but
        not among them.

    Raises:
        IncrementalConfigError: If files are missing or wrong, or a step has
            no image.
    """
    loaders, counted = KeptLoaders(), set()
    # Each dataset that is packed for workers searches all for garbage.
    with freed(), read_once():
        for step in steps:
            is_trained = osp.isfile(final_checkpoint(cfg, step))
            for purpose, loader in _loader_configs(build_step_cfg(cfg, step)):
                is_read = purpose == 'test' or not is_trained
                if is_read and workers_stay(loader):
                    loaders.add(purpose, loader)
                elif str(loader.dataset) not in counted:
                    counted.add(str(loader.dataset))
                    _build_to_count(loader.dataset)
    return loaders


def _loader_configs(step_cfg: Config) -> List[Tuple[str, ConfigDict]]:
    """All loaders that a step needs, by what for."""
    if not step_cfg.get('test_dataloader'):
        raise IncrementalConfigError(
            'test_dataloader is not set, but every step is evaluated by it; '
            'set it, for example to val_dataloader.')
    configs = [('train', step_cfg.train_dataloader),
               ('test', step_cfg.test_dataloader)]
    if step_cfg.get('val_dataloader'):
        configs.append(('val', step_cfg.val_dataloader))
    if any(hook.type == 'LabelCompletionHook'
           for hook in step_cfg.custom_hooks):
        configs.append((PURPOSE, completion_loader(step_cfg.train_dataloader)))
    return configs


def _build_to_count(dataset: ConfigDict) -> BaseDataset:
    """A dataset that is not packed for workers, which takes longest."""
    dataset = copy.deepcopy(dataset)
    for leaf in leaf_datasets(dataset):
        leaf.serialize_data = False
    return build_dataset(dataset)


def count_step_images(step_cfg: Config) -> Tuple[int, int]:
    """Number of training and of evaluation images of a step.

    Args:
        step_cfg (Config): Config of the step.

    Returns:
        tuple[int, int]: Training images, evaluation images.

    Raises:
        IncrementalConfigError: If the data cannot be used.
    """
    loaders = dict(_loader_configs(step_cfg))
    train, test = (
        count_images(_build_to_count(loaders[purpose].dataset))
        for purpose in ('train', 'test'))
    return train, test


def count_images(dataset: BaseDataset) -> int:
    """Number of images of a dataset, repetitions by wrappers left out.

    Args:
        dataset (BaseDataset): A dataset, or one of MMEngine's wrappers.

    Returns:
        int: The number of images.
    """
    if hasattr(dataset, 'datasets'):
        return sum(count_images(inner) for inner in dataset.datasets)
    if isinstance(dataset, BaseDataset):
        return len(dataset)
    return count_images(dataset.dataset)
