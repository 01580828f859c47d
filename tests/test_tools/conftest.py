from pathlib import Path
from typing import Callable

import pytest

from mmseg_incremental.evaluation import (build_results, step_record,
                                          write_results)


@pytest.fixture
def save_run() -> Callable:
    """Write the results of a finished run of two steps and two classes."""

    def save(work_dir: Path,
             method: str,
             background: float = 90.,
             cat: float = 60.) -> str:
        metrics = {
            'IoU/background': background,
            'IoU/cat': cat,
            'mIoU': (background + cat) / 2
        }
        names = ['background', 'cat']
        header = dict(
            task='1-1',
            setting='disjoint',
            method=method,
            dataset='Shapes',
            class_names=names)
        steps = [
            step_record(0, names[:1], names[:1], 3, metrics),
            step_record(1, names[1:], names, 2, metrics)
        ]
        write_results(
            build_results(header, steps, names[:1], names[1:], 2),
            str(work_dir))
        return str(work_dir)

    return save
