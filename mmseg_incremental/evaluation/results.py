import platform
from importlib import import_module
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Tuple

import numpy as np

from mmseg_incremental.errors import IncrementalConfigError
from .continual import summarize

_HEADER = ('task', 'setting', 'method', 'dataset', 'class_names')
_PACKAGES = ('torch', 'mmengine', 'mmcv', 'mmseg', 'mmseg_incremental',
             'numpy')


def step_record(step: int,
                new_classes: Sequence[str],
                seen_classes: Sequence[str],
                num_train_images: Optional[int],
                metrics: Mapping[str, float],
                train_seconds: Optional[float] = None,
                peak_memory_mb: Optional[float] = None,
                device: Optional[str] = None) -> Dict[str, Any]:
    """One entry of ``steps`` in ``results.json``.

    Args:
        step (int): Index of the step.
        new_classes (Sequence[str]): Names of the classes the step introduced,
            the background among those of step 0.
        seen_classes (Sequence[str]): Names of all classes seen so far.
        num_train_images (int, optional): Training images of the step.
        metrics (Mapping[str, float]): What :class:`IncrementalIoUMetric`
            returned: 'mIoU', 'mIoU_no_bg' and 'IoU/<class name>' in percent.
        train_seconds (float, optional): Time the training took. Defaults to
            None, a step that was evaluated only.
        peak_memory_mb (float, optional): Memory the training took. Defaults
            to None, as above.
        device (str, optional): Name of the device it took them on. Defaults
            to None, as above.

    Returns:
        dict: The record. ``iou`` has the seen classes with ground truth;
        numbers that are undefined are None.

    Raises:
        IncrementalConfigError: If the metrics have no IoU of a class.
    """
    iou = {
        name: _optional(float, metrics.get(f'IoU/{name}'))
        for name in seen_classes
    }
    iou = {name: value for name, value in iou.items() if value is not None}
    if not iou:
        raise IncrementalConfigError(
            f'The metrics of step {step} are {sorted(metrics)}, without an '
            "'IoU/<class name>' of a seen class; set val_evaluator to "
            "dict(type='IncrementalIoUMetric') and evaluate on images with "
            'ground truth.')
    return dict(
        step=int(step),
        new_classes=list(new_classes),
        seen_classes=list(seen_classes),
        num_train_images=_optional(int, num_train_images),
        iou=iou,
        mIoU=_optional(float, metrics.get('mIoU')),
        mIoU_no_bg=_optional(float, metrics.get('mIoU_no_bg')),
        train_seconds=_optional(float, train_seconds),
        peak_memory_mb=_optional(float, peak_memory_mb),
        device=device)


def build_results(header: Mapping[str, Any], steps: Sequence[dict],
                  base_classes: Sequence[str], new_classes: Sequence[str],
                  num_steps: int) -> Dict[str, Any]:
    """The content of ``results.json``.

    Args:
        header (Mapping): 'task', 'setting', 'method', 'dataset' and
            'class_names' (in the order of the dataset labels). 'versions'
            and 'conventions' are optional; the conventions are those of the
            scenario ('future', 'background', ...) and 'background_class', the
            class that mIoU_no_bg leaves out (by default the first one, None
            if the data set has no background).
        steps (Sequence[dict]): Records of the steps that are finished.
        base_classes (Sequence[str]): Names of the classes of step 0,
            background included.
        new_classes (Sequence[str]): Names of the classes of later steps. A
            joint run names the groups of the runs it is compared with.
        num_steps (int): Steps of the whole run.

    Returns:
        dict: The results; ``summary`` is of the state after the last step
        present and ``complete`` tells whether all steps are.

    Raises:
        IncrementalConfigError: If the header lacks a key or there is no step.
    """
    missing = [key for key in _HEADER if key not in header]
    if missing or not steps:
        raise IncrementalConfigError(
            f'Results need at least one step and the keys {_HEADER}, got '
            f'{len(steps)} steps and the keys {tuple(header)}; finish step 0 '
            f'and add {missing}.')
    steps = sorted((dict(step) for step in steps), key=lambda s: s['step'])
    class_names = list(header['class_names'])
    conventions = dict(
        unit='percent',
        mIoU='mean over the seen classes, background included',
        mIoU_no_bg='mean over the seen classes, background excluded',
        no_ground_truth='class left out of the mean',
        background_class=class_names[0],
        base_classes=list(base_classes),
        new_classes=list(new_classes),
        num_steps=num_steps)
    conventions.update(header.get('conventions', {}))
    results = {key: header[key] for key in _HEADER[:4]}
    results.update(class_names=class_names, steps=steps)
    results['summary'] = summarize(*iou_matrix(results), class_names,
                                   base_classes, new_classes,
                                   conventions['background_class'])
    results.update(
        conventions=conventions,
        versions=header.get('versions') or collect_versions(),
        complete={step['step']
                  for step in steps} >= set(range(num_steps)))
    return results


def iou_matrix(results: Mapping[str, Any]) -> Tuple[np.ndarray, np.ndarray]:
    """The step x class matrix of results.

    Args:
        results (Mapping): 'class_names' (C of them) and 'steps', the last of
            which is step T - 1.

    Returns:
        tuple[np.ndarray, np.ndarray]: IoU in percent, shape (T, C), NaN where
        there is none, and the step at which each class was learned, shape
        (C, ), T for a class that was not.
    """
    names = results['class_names']
    num_steps = max(record['step'] for record in results['steps']) + 1
    iou = np.full((num_steps, len(names)), np.nan)
    first_step = np.full(len(names), num_steps)
    for record in results['steps']:
        step = record['step']
        for column, name in enumerate(names):
            iou[step, column] = record['iou'].get(name, np.nan)
            if name in record['seen_classes']:
                # Seen before, though no earlier record has it: learned in a
                # step without a record, whose row is empty.
                learned = step - (name not in record['new_classes'])
                first_step[column] = min(first_step[column], learned)
    return iou, first_step


def collect_versions() -> Dict[str, Optional[str]]:
    """Versions of what a result depends on.

    Returns:
        dict[str, str | None]: Version of Python and of the packages, None for
        a package that does not tell.
    """
    versions: Dict[str, Optional[str]] = dict(python=platform.python_version())
    for name in _PACKAGES:
        # str: torch's is a subclass that not every encoder knows
        version = getattr(import_module(name), '__version__', None)
        versions[name] = None if version is None else str(version)
    return versions


def _optional(kind: Callable, value: Optional[float]) -> Any:
    """``kind(value)``, None where the value is undefined."""
    return None if value is None or not np.isfinite(value) else kind(value)
