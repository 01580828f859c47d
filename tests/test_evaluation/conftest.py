from typing import Callable, Sequence

import numpy as np
import pytest

from mmseg_incremental.evaluation import build_results, step_record


@pytest.fixture
def make_results() -> Callable:
    """Results of a run with the given class counts a step, background in."""

    def make(sizes: Sequence[int], method: str = 'mib', **kwargs) -> dict:
        names = ['background']
        names += [f'class {i}' for i in range(1, sum(sizes))]
        ends = np.cumsum(sizes)
        rng = np.random.default_rng(len(sizes))
        records = []
        for step, (size, end) in enumerate(zip(sizes, ends)):
            iou = rng.uniform(0, 100, end)
            metrics = {f'IoU/{n}': v for n, v in zip(names, iou)}
            metrics.update(mIoU=iou.mean(), mIoU_no_bg=iou[1:].mean())
            records.append(
                step_record(step, names[end - size:end], names[:end],
                            100 * (step + 1), metrics, 1.5))
        header = dict(
            task='custom',
            setting='overlapped',
            method=method,
            dataset='Shapes',
            class_names=names,
            conventions=dict(future='ignore', background='evaluate'))
        header.update(kwargs)
        return build_results(header, records, names[:ends[0]], names[ends[0]:],
                             len(sizes))

    return make
