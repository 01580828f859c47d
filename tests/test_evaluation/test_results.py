import csv
import json
import platform

import numpy as np
import pytest
import torch

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.evaluation import (build_results, collect_versions,
                                          iou_matrix, load_results,
                                          load_step_records, save_step_record,
                                          step_record, write_results)

NAMES = ['background', 'cat', 'dog']
METRICS = [{
    'IoU/background': 90.,
    'IoU/cat': 60.,
    'mIoU': 75.,
    'mIoU_no_bg': 60.,
    'aAcc': 91.
}, {
    'IoU/background': 80.,
    'IoU/cat': 30.,
    'IoU/dog': 40.,
    'mIoU': 50.,
    'mIoU_no_bg': 35.
}]
HEADER = dict(
    task='1-1',
    setting='disjoint',
    method='plop',
    dataset='Shapes',
    class_names=NAMES,
    conventions=dict(future='background', background='evaluate'))


def records() -> list:
    return [
        step_record(0, NAMES[:2], NAMES[:2], np.int64(12), METRICS[0], 3),
        step_record(1, NAMES[2:], NAMES, 5, METRICS[1], peak_memory_mb=900)
    ]


def results(steps: slice = slice(None)) -> dict:
    return build_results(HEADER, records()[steps], NAMES[:2], NAMES[2:], 2)


def test_schema():
    content = results()
    assert list(content) == [
        'task', 'setting', 'method', 'dataset', 'class_names', 'steps',
        'summary', 'conventions', 'versions', 'complete'
    ]
    assert content['steps'][0] == dict(
        step=0,
        new_classes=['background', 'cat'],
        seen_classes=['background', 'cat'],
        num_train_images=12,
        iou=dict(background=90., cat=60.),
        mIoU=75.,
        mIoU_no_bg=60.,
        train_seconds=3.,
        peak_memory_mb=None,
        device=None)
    assert content['steps'][1]['train_seconds'] is None
    assert content['summary'] == dict(
        base=55.,
        new=40.,
        all=50.,
        all_no_bg=35.,
        average=62.5,
        forgetting=20.,
        bwt=-20.,
        hIoU=pytest.approx(2 * 55 * 40 / 95))
    conventions = content['conventions']
    assert conventions['future'] == 'background'
    assert conventions['background'] == 'evaluate'
    assert conventions['background_class'] == 'background'
    assert content['complete'] is True


@pytest.mark.parametrize('steps', [slice(1), slice(1, 2)])
def test_incomplete(steps):
    content = results(steps)
    assert content['complete'] is False
    assert content['summary']['bwt'] is None
    # Step 1 alone knows its own state, not what was lost.
    assert content['summary']['base'] == (75 if steps == slice(1) else 55)


def test_iou_matrix():
    iou, first_step = iou_matrix(results())
    np.testing.assert_array_equal(iou, [[90, 60, np.nan], [80, 30, 40]])
    np.testing.assert_array_equal(first_step, [0, 0, 1])


def test_class_without_ground_truth():
    metrics = {'IoU/background': 90., 'IoU/cat': np.nan, 'mIoU': 90.}
    record = step_record(0, NAMES[:2], NAMES[:2], 1, metrics)
    assert record['iou'] == dict(background=90.)
    assert record['mIoU_no_bg'] is None
    json.dumps(record, allow_nan=False)


def test_metrics_of_the_stock_metric():
    with pytest.raises(IncrementalConfigError, match='IncrementalIoUMetric'):
        step_record(0, NAMES[:2], NAMES[:2], 1, dict(mIoU=90.))


@pytest.mark.parametrize('header, steps', [(dict(task='1-1'), records()),
                                           (HEADER, [])])
def test_nothing_to_build(header, steps):
    with pytest.raises(IncrementalConfigError, match='at least one step'):
        build_results(header, steps, NAMES[:2], NAMES[2:], 2)


def test_write_and_load(tmp_path):
    content = results()
    write_results(content, str(tmp_path / 'work'))
    assert load_results(str(tmp_path / 'work')) == content
    assert load_results(str(tmp_path / 'work' / 'results.json')) == content
    with open(tmp_path / 'work' / 'results.csv', newline='') as file:
        rows = list(csv.reader(file))
    assert rows[0] == [
        'step', 'num_train_images', 'train_seconds', 'peak_memory_mb', 'mIoU',
        'mIoU_no_bg', 'background', 'cat', 'dog'
    ]
    assert rows[1] == [
        '0', '12', '3.0', '', '75.0', '60.0', '90.0', '60.0', ''
    ]
    assert rows[2] == [
        '1', '5', '', '900.0', '50.0', '35.0', '80.0', '30.0', '40.0'
    ]
    assert {path.name
            for path in (tmp_path / 'work').iterdir()
            } == {'results.json', 'results.csv'}


def test_failed_write_keeps_the_old_file(tmp_path):
    write_results(results(), str(tmp_path))
    broken = dict(results(), task=float('nan'))
    with pytest.raises(ValueError):
        write_results(broken, str(tmp_path))
    assert load_results(str(tmp_path)) == results()


@pytest.mark.parametrize('content, message', [
    (None, 'does not exist'),
    ('{"task": ', 'cannot be read as JSON'),
    ('[1, 2]', 'lacks the keys'),
    ('{"task": "1-1"}', r"lacks the keys \['setting', "),
])
def test_load_errors(tmp_path, content, message):
    if content is not None:
        (tmp_path / 'results.json').write_text(content)
    with pytest.raises(IncrementalConfigError, match=message) as error:
        load_results(str(tmp_path))
    assert str(tmp_path / 'results.json') in str(error.value)


def test_step_records_in_order(tmp_path):
    record = records()[1]
    for step in (10, 2, 0):
        save_step_record(
            str(tmp_path / f'step_{step}'), dict(record, step=step))
    write_results(results(), str(tmp_path))
    loaded = load_step_records(str(tmp_path))
    assert [r['step'] for r in loaded] == [0, 2, 10]
    assert loaded[1] == dict(record, step=2)


def test_step_records_absent_or_foreign(tmp_path):
    assert load_step_records(str(tmp_path / 'nothing')) == []
    write_results(results(), str(tmp_path / 'step_0'))
    with pytest.raises(IncrementalConfigError, match='step_0.*lacks the keys'):
        load_step_records(str(tmp_path))


def test_versions():
    versions = collect_versions()
    assert versions['python'] == platform.python_version()
    assert versions['torch'] == torch.__version__
    assert versions['numpy'] == np.__version__
    assert set(versions) == {
        'python', 'torch', 'mmengine', 'mmcv', 'mmseg', 'mmseg_incremental',
        'numpy'
    }
