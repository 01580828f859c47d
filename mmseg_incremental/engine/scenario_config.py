import inspect
from typing import Iterator, List, Optional, Tuple

from mmengine.config import Config
from mmseg.registry import DATASETS

from mmseg_incremental.datasets import IncrementalDataset
from mmseg_incremental.errors import IncrementalConfigError, check_keys
from mmseg_incremental.scenario import ClassIncrementalScenario

# Set by whoever builds the scenario, not by its config.
_DERIVED = ('self', 'num_classes', 'class_names')


def build_scenario(cfg: Config,
                   joint: Optional[bool] = None) -> ClassIncrementalScenario:
    """Build the scenario of a run from its config alone.

    Args:
        cfg (Config): Config of the run.
        joint (bool, optional): Whether all classes come in one step. Defaults
            to None: as the method says.

    Returns:
        ClassIncrementalScenario: With the data set's class names.

    Raises:
        IncrementalConfigError: If a key or value is not allowed.
    """
    names = class_names(cfg)
    allowed = [
        key for key in inspect.signature(ClassIncrementalScenario).parameters
        if key not in _DERIVED
    ]
    check_keys('scenario', cfg.scenario, allowed)
    if 'task' not in cfg.scenario:
        raise IncrementalConfigError(
            "scenario.task is missing; set it, for example to '15-1', or "
            'list the class names of each step.')
    scenario = ClassIncrementalScenario(
        num_classes=len(names) - 1, class_names=names, **cfg.scenario)
    joint = is_joint(cfg) if joint is None else joint
    return scenario.joint() if joint else scenario


def is_joint(cfg: Config) -> bool:
    """Whether the method trains all classes at once."""
    return bool(cfg.get('method', {}).get('joint', False))


def class_names(cfg: Config) -> Tuple[str, ...]:
    """Class names of the data set that a config trains on.

    Args:
        cfg (Config): Config of the run.

    Returns:
        tuple[str]: Names by label, the background first.
    """
    return source_classes(next(leaf_datasets(cfg.train_dataloader.dataset)))


def dataset_name(cfg: Config) -> str:
    """Name of the data set for results, its type as written in the config."""
    dataset = next(leaf_datasets(cfg.train_dataloader.dataset))
    inner = dataset.get('dataset') if is_incremental(dataset) else None
    return str((inner or dataset)['type'])


def leaf_datasets(dataset: dict) -> Iterator[dict]:
    """Walk through dataset wrappers (repeat, concatenate ...) to the data.

    Args:
        dataset (dict): A dataset config.

    Yields:
        dict: Each incremental or plain dataset config inside.
    """
    nested: List[dict] = []
    if not is_incremental(dataset):
        nested = list(dataset.get('datasets', []))
        if 'dataset' in dataset:
            nested.append(dataset['dataset'])
    if not nested:
        yield dataset
    for inner in nested:
        yield from leaf_datasets(inner)


def dataset_class(dataset: dict) -> type:
    """Look up the class of a dataset config.

    Args:
        dataset (dict): A dataset config.

    Returns:
        type: The registered class.
    """
    found = DATASETS.get(dataset['type'])
    if found is None:
        raise IncrementalConfigError(
            f'the dataset type {dataset["type"]!r} is not registered; name '
            'a dataset of MMSegmentation or of a module in custom_imports.')
    return found


def is_incremental(dataset: dict) -> bool:
    """Whether a dataset config is an :class:`IncrementalDataset`."""
    return issubclass(dataset_class(dataset), IncrementalDataset)


def source_classes(dataset: dict) -> Tuple[str, ...]:
    """Class names of a dataset config by label.

    Args:
        dataset (dict): An incremental or plain dataset config, no wrapper.

    Returns:
        tuple[str]: The background first.

    Raises:
        IncrementalConfigError: If the dataset has no class names.
    """
    background = dataset.get('background', 'background')
    found = dataset_class(dataset)
    if is_incremental(dataset):
        dataset = dataset.get('dataset') or dict(
            dataset, type=found.dataset_type)
        if dataset['type'] is None:
            raise IncrementalConfigError(
                f'{found.__name__} needs the key "dataset": the config of '
                'the MMSeg dataset to wrap.')
        found = dataset_class(dataset)
    # As the dataset does it: the classes may stand in a file.
    classes = found._load_metainfo(dataset.get('metainfo')).get('classes')
    if not classes or isinstance(classes, str):
        found = f', {classes!r} is no file of them' if classes else ''
        raise IncrementalConfigError(
            f'the dataset {dataset["type"]} has no class names{found}: set '
            'metainfo=dict(classes=(...)) in its config, the background '
            'first.')
    return (background, *(name for name in classes if name != background))
