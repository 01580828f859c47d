import json
from typing import Sequence

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric
from mmseg.registry import METRICS

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.evaluation import IncrementalIoUMetric

CLASSES = ('background', 'cat', 'dog', 'cow')


def evaluate(preds: Sequence,
             labels: Sequence,
             classes=CLASSES,
             **kwargs) -> dict:
    metric = IncrementalIoUMetric(**kwargs)
    metric.dataset_meta = dict(classes=classes)
    for pred, label in zip(preds, labels):
        sample = dict(
            img_path='folder/7.jpg',
            pred_sem_seg=dict(data=torch.as_tensor(pred)[None]),
            gt_sem_seg=dict(
                data=torch.as_tensor(label, dtype=torch.uint8)[None]))
        metric.process({}, [sample])
    return metric.evaluate(len(preds))


def test_is_registered():
    assert METRICS.get('IncrementalIoUMetric') is IncrementalIoUMetric


def test_values_by_hand():
    # background: 2 of 3 pixels in the union, cat: 1 of 4, dog: 2 of 2
    metrics = evaluate([[[0, 0, 1, 1], [1, 1, 2, 2]]],
                       [[[0, 0, 0, 1], [255, 2, 2, 2]]])
    assert metrics['IoU/background'] == pytest.approx(200 / 3, abs=1e-12)
    assert metrics['IoU/cat'] == pytest.approx(100 / 3, abs=1e-12)
    assert metrics['IoU/dog'] == pytest.approx(200 / 3, abs=1e-12)
    assert 'IoU/cow' not in metrics
    assert metrics['mIoU'] == pytest.approx(500 / 9, abs=1e-12)
    assert metrics['mIoU_no_bg'] == pytest.approx(50, abs=1e-12)
    assert metrics['aAcc'] == pytest.approx(500 / 7, abs=0.01)
    assert metrics['mAcc'] == pytest.approx(700 / 9, abs=0.01)


def test_matches_confusion_matrix():
    rng = np.random.default_rng(0)
    preds = rng.integers(0, 4, (5, 16, 12))
    labels = rng.integers(0, 5, preds.shape)
    labels[labels == 4] = 255
    confusion = np.zeros((4, 4))
    for label, pred in zip(labels.ravel(), preds.ravel()):
        if label != 255:
            confusion[label, pred] += 1
    hits = np.diag(confusion)
    iou = 100 * hits / (confusion.sum(0) + confusion.sum(1) - hits)

    metrics = evaluate(preds, labels)
    np.testing.assert_allclose([metrics[f'IoU/{name}'] for name in CLASSES],
                               iou,
                               rtol=1e-12)
    assert metrics['mIoU'] == pytest.approx(iou.mean(), rel=1e-12)
    assert metrics['mIoU_no_bg'] == pytest.approx(iou[1:].mean(), rel=1e-12)


def test_predicted_class_without_ground_truth_is_left_out():
    # The stock metric would count cow as 0: mIoU 37.5 rather than 56.25
    metrics = evaluate([[[0, 0, 3, 1]]], [[[0, 0, 0, 1]]])
    assert 'IoU/cow' not in metrics and 'IoU/dog' not in metrics
    assert metrics['mIoU'] == pytest.approx((200 / 3 + 100) / 2)
    assert metrics['mIoU_no_bg'] == pytest.approx(100)


def test_undefined_values_are_left_out_of_json():
    metrics = evaluate([[[0, 0]]], [[[0, 0]]])
    assert 'mIoU_no_bg' not in metrics
    assert json.loads(json.dumps(metrics, allow_nan=False))['mIoU'] == 100


@pytest.mark.parametrize('background, expected', [('cat', 200 / 3),
                                                  ('other', 500 / 9),
                                                  (None, 500 / 9)])
def test_background_by_name(background, expected):
    metrics = evaluate([[[0, 0, 1, 1], [1, 1, 2, 2]]],
                       [[[0, 0, 0, 1], [255, 2, 2, 2]]],
                       background=background)
    assert metrics['mIoU_no_bg'] == pytest.approx(expected)


def test_areas_beyond_float32():
    """2**24 + 1 pixels are not a float32; the last one must still count."""
    metric = IncrementalIoUMetric()
    metric.dataset_meta = dict(classes=('background', 'cat'))
    pixel = torch.zeros(1, 1, dtype=torch.long)
    one = metric.intersect_and_union(pixel, pixel, 2, 255)
    large = tuple(area * 2**24 for area in one)
    wrong = metric.intersect_and_union(pixel + 1, pixel, 2, 255)
    cat = metric.intersect_and_union(pixel + 1, pixel + 1, 2, 255)
    metrics = metric.compute_metrics([large, one, wrong, cat])
    hits = 2**24 + 1
    assert metrics['IoU/background'] == 100 * (hits / (hits + 1))
    assert metrics['IoU/cat'] == 50


@pytest.mark.parametrize('ignore_index', [255, 1, -1])
@pytest.mark.parametrize('num_classes', [4, 200])
@pytest.mark.parametrize(
    'dtype', [torch.int64, torch.int16, torch.int32, torch.float32])
def test_counts_of_the_stock_metric(ignore_index, num_classes, dtype):
    pred = torch.randint(num_classes, (9, 7)).to(dtype)
    label = torch.where(
        torch.rand(9, 7) < 0.5, pred,
        torch.randint(num_classes, (9, 7)).to(dtype))
    label = label.masked_fill(torch.rand(9, 7) < 0.2, ignore_index)
    args = (pred, label, num_classes, ignore_index)
    for ours, stock in zip(
            IncrementalIoUMetric.intersect_and_union(*args),
            IoUMetric.intersect_and_union(*args)):
        assert torch.equal(ours, stock.double())
        assert ours.untyped_storage().nbytes() <= 8 * (num_classes + 1)


def test_small_integers():
    pred = torch.full((3, 5), 20, dtype=torch.uint8)
    label = torch.tensor([20, 20, 7, 255, 0], dtype=torch.uint8).repeat(3, 1)
    areas = IncrementalIoUMetric.intersect_and_union(pred, label, 21, 255)
    assert [area[20].item() for area in areas] == [6, 12, 12, 6]


def test_image_without_a_label():
    pred, label = torch.zeros(2, 2, 2, dtype=torch.long)
    label.fill_(255)
    areas = IncrementalIoUMetric.intersect_and_union(pred, label, 3, 255)
    assert all(area.tolist() == [0, 0, 0] for area in areas)


@pytest.mark.parametrize('nan_to_num, expected', [(None, 100), (0, 50)])
def test_nan_to_num(nan_to_num, expected):
    metrics = evaluate([[[0, 1]]], [[[0, 1]]], nan_to_num=nan_to_num)
    assert metrics['mIoU'] == pytest.approx(expected)


def test_other_metrics_are_kept():
    metrics = evaluate([[[0, 0, 0, 1]]], [[[0, 0, 1, 1]]], iou_metrics='mDice')
    # Dice 2*2/5 and 2*1/3, IoU 2/3 and 1/2
    assert metrics['mDice'] == pytest.approx(
        100 * (4 / 5 + 2 / 3) / 2, abs=0.01)
    assert metrics['mIoU'] == pytest.approx(100 * (2 / 3 + 1 / 2) / 2)


@pytest.mark.parametrize('label', [4, 254])
def test_label_out_of_range(label):
    with pytest.raises(
            IncrementalConfigError,
            match=rf'gt_sem_seg of folder/7.jpg holds the labels \[{label}\], '
            'but the 4 classes of the step allow 0 to 3 or 255'):
        evaluate([[[0, 0]]], [[[0, label]]])


@pytest.mark.parametrize('pred', [-1, 4, 255])
def test_prediction_out_of_range(pred):
    with pytest.raises(
            IncrementalConfigError,
            match=rf'pred_sem_seg .* holds the labels \[{pred}\]'):
        evaluate([[[0, pred]]], [[[0, 0]]])


def test_format_only_needs_no_ground_truth(tmp_path):
    metric = IncrementalIoUMetric(format_only=True, output_dir=str(tmp_path))
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, [
        dict(
            img_path='7.jpg',
            pred_sem_seg=dict(data=torch.zeros(1, 2, 2, dtype=torch.long)))
    ])
    assert metric.compute_metrics(metric.results) == {}
    assert (tmp_path / '7.png').is_file()
