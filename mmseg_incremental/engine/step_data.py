"""The data of a step: datasets that know it, and the metric."""
import copy

from mmengine.config import Config, ConfigDict

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario import ClassIncrementalScenario
from .scenario_config import is_incremental, leaf_datasets, source_classes


def fold_data(cfg: Config, scenario: ClassIncrementalScenario,
              step: int) -> None:
    """Tell every dataset its step, wrap those of MMSeg, choose the metric.

    Args:
        cfg (Config): Config of the step, changed in place.
        scenario (ClassIncrementalScenario): The scenario of the run.
        step (int): The step, counted from 0.

    Raises:
        IncrementalConfigError: If the datasets differ in their classes.
    """
    holdout = cfg.get('holdout')
    if holdout is not None:
        _evaluate_on_train_part(cfg)
    kwargs = scenario.to_dict()
    # The datasets know these two by themselves.
    del kwargs['num_classes'], kwargs['class_names']
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if not loader:
            continue
        for dataset in leaf_datasets(loader.dataset):
            _check_classes(dataset, scenario, split)
            if not is_incremental(dataset):
                _wrap(dataset)
            dataset.update(
                scenario=kwargs, step=step, test_mode=split != 'train')
            if holdout is not None:
                part = 'train' if split == 'train' else 'val'
                dataset.holdout = dict(holdout, part=part)
        if not loader.get('num_workers'):
            # torch refuses persistent workers where there are none.
            loader.persistent_workers = False
        evaluator = cfg.get(f'{split}_evaluator')
        metrics = evaluator if isinstance(evaluator, list) else [evaluator]
        for metric in metrics:
            if metric and metric.get('type') == 'IoUMetric':
                metric.type = 'IncrementalIoUMetric'
            if metric and metric.get('type') == 'IncrementalIoUMetric':
                metric.setdefault('background', scenario.class_names[0])


def _check_classes(dataset: ConfigDict, scenario: ClassIncrementalScenario,
                   split: str) -> None:
    """Labels are positions in the list of classes, so all must agree."""
    names = source_classes(dataset)
    if names != scenario.class_names:
        raise IncrementalConfigError(
            f'{split}_dataloader has a dataset with the classes {names}, but '
            f'the training data has {scenario.class_names}; give all datasets '
            'the same metainfo.classes in the same order.')


def _wrap(dataset: ConfigDict) -> None:
    """Turn an MMSeg dataset config into an IncrementalDataset, in place."""
    inner = copy.deepcopy(dict(dataset))
    pipeline = inner.pop('pipeline', [])
    dataset.clear()
    dataset.update(type='IncrementalDataset', dataset=inner, pipeline=pipeline)


def _evaluate_on_train_part(cfg: Config) -> None:
    """Evaluate on training images, with the evaluation's pipeline."""
    for split in ('val', 'test'):
        loader = cfg.get(f'{split}_dataloader')
        if loader:
            pipeline = next(leaf_datasets(loader.dataset)).pipeline
            loader.dataset = copy.deepcopy(cfg.train_dataloader.dataset)
            for leaf in leaf_datasets(loader.dataset):
                leaf.pipeline = copy.deepcopy(pipeline)


def describe_resize(cfg: Config) -> str:
    """How evaluation images are resized, in words for the results.

    MiB, PLOP and RCIL evaluate the centre crop of 512 of images with a short
    side of 512 (SSUL: 513); figures on whole images do not compare.

    Args:
        cfg (Config): Config of the run.

    Returns:
        str: One phrase.
    """
    pipeline = next(leaf_datasets(cfg.test_dataloader.dataset)).pipeline
    for transform in pipeline:
        if transform['type'] == 'ResizeCenterCrop':
            return f'short side and centre crop {transform["size"]}'
        if transform['type'] == 'Resize' and transform.get('scale'):
            return (f'input {tuple(transform["scale"])}, whole images at '
                    'their own size')
    return 'none, whole images'
