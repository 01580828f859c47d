"""The wrapped dataset of a step: built and read with errors that say why."""
import os.path as osp
from typing import Dict, List, Optional, Sequence

from mmengine import fileio
from mmengine.dataset import BaseDataset
from mmseg.registry import DATASETS

from mmseg_incremental.errors import IncrementalConfigError


def build_source(name: str, dataset: Optional[dict],
                 dataset_type: Optional[str], kwargs: dict) -> BaseDataset:
    """Build the wrapped dataset without reading its files.

    Args:
        name (str): Name of the class that wraps it, for the messages.
        dataset (dict, optional): Config of the wrapped dataset.
        dataset_type (str, optional): Its type where ``dataset`` is None.
        kwargs (dict): Its arguments where ``dataset`` is None, else empty.

    Returns:
        BaseDataset: The dataset, not initialised and without a pipeline.

    Raises:
        IncrementalConfigError: If there is no config or there are two, the
            dataset is not where the config says, or it refuses its arguments.
    """
    if dataset is None:
        if dataset_type is None:
            raise IncrementalConfigError(
                f'{name} needs the key "dataset": the config of the MMSeg '
                'dataset to wrap, for example '
                "dict(type='ADE20KDataset', data_root=...).")
        dataset = dict(type=dataset_type, **kwargs)
    elif kwargs:
        raise IncrementalConfigError(
            f'{name} got {sorted(kwargs)} beside "dataset"; put arguments of '
            'the wrapped dataset inside "dataset".')
    try:
        return DATASETS.build(dict(dataset, lazy_init=True, pipeline=[]))
    except IncrementalConfigError:
        raise
    except (AssertionError, OSError) as error:
        # MMSeg's datasets assert without saying which path is missing.
        raise IncrementalConfigError(
            f'data_root={dataset.get("data_root")!r} is not a '
            f'{dataset["type"]}: {_reason(dataset, error)}; set data_root to '
            'the directory that holds it.') from error
    except (TypeError, ValueError) as error:
        raise IncrementalConfigError(
            f'the dataset {dataset["type"]} cannot be built from its config '
            f'{dict(dataset)}: {error}; correct it.') from error


def read_source(source: BaseDataset) -> List[dict]:
    """List all images of the wrapped dataset.

    Args:
        source (BaseDataset): The wrapped dataset.

    Returns:
        list[dict]: Data infos, each with its mask.

    Raises:
        IncrementalConfigError: If files are missing, or there are no images
            or no masks.
    """
    try:
        data_list = source.load_data_list()
    except (AssertionError, OSError) as error:
        raise IncrementalConfigError(
            f'data_root={source.data_root!r} cannot be read: {error}; set '
            'data_root to the directory of the data set.') from error
    if not data_list:
        raise IncrementalConfigError(
            f'data_root={source.data_root!r} holds no image (ann_file='
            f'{source.ann_file!r}, data_prefix={source.data_prefix}); check '
            'both keys.')
    if 'seg_map_path' not in data_list[0]:
        raise IncrementalConfigError(
            f'data_prefix={source.data_prefix} names no masks; set '
            'data_prefix.seg_map_path to their folder.')
    return data_list


def check_images(paths: Sequence[str], step: int,
                 backend_args: Optional[dict]) -> None:
    """See that the images of a step exist, before training needs them.

    Args:
        paths (Sequence[str]): The images; those that are not on a local disk
            are not looked for.
        step (int): The step, for the message.
        backend_args (dict, optional): Arguments of the file backend.

    Raises:
        IncrementalConfigError: If images are missing.
    """
    backend = fileio.get_file_backend(paths[0], backend_args=backend_args)
    if not isinstance(backend, fileio.LocalBackend):
        return
    missing = [path for path in paths if not osp.isfile(path)]
    if missing:
        raise IncrementalConfigError(
            f'{len(missing)} of {len(paths)} images of step {step} do not '
            f'exist, the first is {missing[0]!r}; correct data_root, '
            'data_prefix or img_suffix, or add the images.')


def _reason(dataset: dict, error: Exception) -> str:
    """The first path of a dataset config that does not exist, if any."""
    root = dataset.get('data_root') or ''
    prefix: Dict[str, str] = dataset.get('data_prefix') or {}
    for path in ('', dataset.get('ann_file'), *prefix.values()):
        path = osp.join(root, path or '')
        if path and not osp.exists(path):
            return f'{path} does not exist'
    return str(error) or type(error).__name__
