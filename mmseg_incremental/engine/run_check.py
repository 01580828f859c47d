"""Whether a run can be carried out, found out before anything is written."""
import copy
from typing import Sequence, Tuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmseg.registry import DATASETS, MODELS

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models import GROWABLE_HEADS
from .scenario_config import leaf_datasets
from .step_config import build_step_cfg
from .step_model import head_configs, without_pretrained


def check_model(cfg: Config, step: int) -> None:
    """Build the model of a step, to see that all its parts exist and grow.

    Args:
        cfg (Config): Config of the run.
        step (int): The step, counted from 0.

    Raises:
        IncrementalConfigError: If it cannot be built.
    """
    model_cfg = without_pretrained(build_step_cfg(cfg, step).model)
    try:
        with torch.random.fork_rng(devices=[]):
            MODELS.build(model_cfg)
    except IncrementalConfigError:
        raise
    except Exception as error:
        # Anything: a part that is not registered, lacks an argument or needs
        # compiled operators fails in its own way.
        raise IncrementalConfigError(
            f'the model of step {step} cannot be built: '
            f'{type(error).__name__}: {error}; correct "model" or "method"'
            f'{_advice_on_heads(model_cfg)}.') from error


def _advice_on_heads(model_cfg: ConfigDict) -> str:
    """Heads that work, where one is used that is not among them."""
    unproven = [
        head.type for head in head_configs(model_cfg)
        if head.type.removeprefix('Incremental') not in GROWABLE_HEADS
    ]
    if not unproven:
        return ''
    return (f' (the head {unproven[0]} is none of those proven to learn new '
            f'classes, which are {", ".join(GROWABLE_HEADS)})')


def check_data(cfg: Config, steps: Sequence[int]) -> None:
    """Build the datasets of all steps, to see that their files exist.

    Args:
        cfg (Config): Config of the run.
        steps (Sequence[int]): The steps to run.

    Raises:
        IncrementalConfigError: If files are missing or wrong, or a step has
            no image.
    """
    for step in steps:
        count_step_images(build_step_cfg(cfg, step))


def count_step_images(step_cfg: Config) -> Tuple[int, int]:
    """Number of training and of evaluation images of a step.

    Args:
        step_cfg (Config): Config of the step.

    Returns:
        tuple[int, int]: Training images, evaluation images.

    Raises:
        IncrementalConfigError: If the data cannot be used.
    """
    if not step_cfg.get('test_dataloader'):
        raise IncrementalConfigError(
            'test_dataloader is not set, but every step is evaluated by it; '
            'set it, for example to val_dataloader.')
    counts = []
    for loader in (step_cfg.train_dataloader, step_cfg.test_dataloader):
        dataset = copy.deepcopy(loader.dataset)
        for leaf in leaf_datasets(dataset):
            # Only counted: packing it for the workers takes longest.
            leaf.serialize_data = False
        counts.append(count_images(DATASETS.build(dataset)))
    return counts[0], counts[1]


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
