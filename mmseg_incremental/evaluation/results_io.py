"""The files of a run: results.json, results.csv and a record a step."""
import csv
import glob
import io
import json
import os
import os.path as osp
from typing import Any, Dict, List, Mapping, Sequence

from mmengine.utils import mkdir_or_exist

from mmseg_incremental.errors import IncrementalConfigError

_STEP_KEYS = ('step', 'new_classes', 'seen_classes', 'num_train_images', 'iou',
              'mIoU', 'mIoU_no_bg', 'train_seconds')
_RESULT_KEYS = ('task', 'setting', 'method', 'dataset', 'class_names', 'steps',
                'summary', 'conventions', 'versions', 'complete')


def write_results(results: Mapping[str, Any], work_dir: str) -> None:
    """Write ``results.json`` and ``results.csv``, each atomically.

    The CSV file has a row a step and a column a class, empty where the class
    has no IoU.

    Args:
        results (Mapping): What :func:`build_results` returned.
        work_dir (str): Folder of the run.
    """
    means = ('step', 'num_train_images', 'train_seconds', 'peak_memory_mb',
             'mIoU', 'mIoU_no_bg')
    table = io.StringIO()
    writer = csv.writer(table, lineterminator='\n')
    writer.writerow([*means, *results['class_names']])
    for record in results['steps']:
        writer.writerow([
            *(record.get(key) for key in means),
            *(record['iou'].get(name) for name in results['class_names'])
        ])
    _write_json(results, osp.join(work_dir, 'results.json'))
    write_atomically(table.getvalue().encode(),
                     osp.join(work_dir, 'results.csv'))


def load_results(path: str) -> Dict[str, Any]:
    """Read results.

    Args:
        path (str): ``results.json`` or the folder of a run, which holds it.

    Returns:
        dict: The results.

    Raises:
        IncrementalConfigError: If the file is missing or is something else.
    """
    if osp.isdir(path):
        path = osp.join(path, 'results.json')
    return _read_json(path, _RESULT_KEYS)


def save_step_record(step_dir: str, record: Mapping[str, Any]) -> None:
    """Write the record of a step to ``results.json`` in its own work dir.

    Args:
        step_dir (str): Work dir of the step.
        record (Mapping): What :func:`step_record` returned.
    """
    _write_json(record, osp.join(step_dir, 'results.json'))


def load_step_records(work_dir: str) -> List[Dict[str, Any]]:
    """Read the records of the finished steps of a run.

    Args:
        work_dir (str): Folder of the run.

    Returns:
        list[dict]: Records in ascending order of the step; empty if no step
        is finished.

    Raises:
        IncrementalConfigError: If a file is not the record of a step.
    """
    pattern = osp.join(glob.escape(work_dir), 'step_*', 'results.json')
    records = [_read_json(path, _STEP_KEYS) for path in glob.glob(pattern)]
    return sorted(records, key=lambda record: record['step'])


def write_atomically(content: bytes, path: str) -> None:
    """Write a file so that a reader sees the old or the new one, no half.

    Args:
        content (bytes): What to write.
        path (str): The file. Its folder is created.
    """
    mkdir_or_exist(osp.dirname(path))
    part = f'{path}.{os.getpid()}.part'
    with open(part, 'wb') as file:
        file.write(content)
    os.replace(part, path)


def _write_json(content: Mapping[str, Any], path: str) -> None:
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    write_atomically(f'{text}\n'.encode(), path)


def _read_json(path: str, keys: Sequence[str]) -> Dict[str, Any]:
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except FileNotFoundError:
        raise IncrementalConfigError(
            f'{path} does not exist; name the folder of a run with at least '
            'one finished step, or its results.json.') from None
    except (OSError, ValueError) as error:
        raise IncrementalConfigError(
            f'{path} cannot be read as JSON ({error}); remove it and evaluate '
            'the step again.') from None
    missing = [
        key for key in keys if not isinstance(content, dict)
        or key not in content or content[key] == []
    ]
    if missing:
        raise IncrementalConfigError(
            f'{path} lacks the keys {missing}; a run writes its results to '
            'WORK/results.json and the record of step t to '
            'WORK/step_<t>/results.json.')
    return content
