import csv
import gc
import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from mmseg_incremental.datasets.shapes import SHAPES_CLASSES
from mmseg_incremental.engine import build_scenario, run_steps, train_step
from mmseg_incremental.engine.device import device_name

KEYS = [
    'class_names', 'complete', 'conventions', 'dataset', 'method', 'setting',
    'steps', 'summary', 'task', 'versions'
]
STEP_KEYS = [
    'device', 'iou', 'mIoU', 'mIoU_no_bg', 'new_classes', 'num_train_images',
    'peak_memory_mb', 'seen_classes', 'step', 'train_seconds'
]
SUMMARY_KEYS = {
    'base', 'new', 'all', 'all_no_bg', 'average', 'forgetting', 'bwt', 'hIoU'
}


def test_results(finished):
    results = json.loads((finished.work_dir / 'results.json').read_text())
    assert results == finished.results
    assert sorted(results) == KEYS
    assert results['task'] == '18-1'
    assert results['setting'] == 'overlapped'
    assert results['method'] == 'mib'
    assert results['dataset'] == 'ShapesDataset'
    assert results['class_names'] == list(SHAPES_CLASSES)
    assert results['complete'] is True
    assert SUMMARY_KEYS <= set(results['summary'])
    assert results['versions']['torch'] == str(torch.__version__)
    conventions = results['conventions']
    assert conventions['future'] == 'background'
    assert conventions['void'] == 'ignore'
    assert conventions['pretrained'] == 'as configured'


@pytest.mark.parametrize('step, images', [(0, 24), (1, 3), (2, 5)])
def test_record_of_a_step(finished, step, images):
    record = finished.results['steps'][step]
    assert sorted(record) == STEP_KEYS
    assert record['step'] == step
    assert record['num_train_images'] == images
    seen = list(SHAPES_CLASSES[:19 + step])
    assert record['seen_classes'] == seen
    assert record['new_classes'] == (seen[-1:] if step else seen)
    assert 0 < record['train_seconds'] < 60
    assert 10 < record['peak_memory_mb'] < 100_000
    assert record['device'] == device_name()
    iou = record['iou']
    assert set(iou) <= set(seen) and 'background' in iou
    assert all(0 <= value <= 100 for value in iou.values())
    assert record['mIoU'] == pytest.approx(np.mean(list(iou.values())))
    foreground = [value for name, value in iou.items() if name != seen[0]]
    assert record['mIoU_no_bg'] == pytest.approx(np.mean(foreground))


def test_table(finished):
    with open(finished.work_dir / 'results.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['step'] for row in rows] == ['0', '1', '2']
    for row, record in zip(rows, finished.results['steps']):
        assert float(row['mIoU']) == record['mIoU']
        for name in SHAPES_CLASSES:
            assert row[name] == str(record['iou'].get(name, ''))


def test_pictures(finished):
    pictures = {path.name for path in finished.work_dir.glob('report/*')}
    assert pictures == {
        'curves.png', 'forgetting.png', 'iou_matrix.png', 'panel.png'
    }
    for name in pictures:
        image = cv2.imread(str(finished.work_dir / 'report' / name))
        assert min(image.shape[:2]) > 100 and image.std() > 0


def test_files_of_a_step(finished):
    for step in range(3):
        folder = finished.work_dir / f'step_{step}'
        names = {path.name for path in folder.iterdir()}
        # A stock work dir: config, checkpoint, and the log of its own run.
        assert {'final.pth', 'deploy.py', 'results.json',
                'tiny_shapes.py'} <= names
        assert not [name for name in names if 'partial' in name]
        log = next(folder.glob('2*/*.log')).read_text()
        assert f'step {step} trains on' in log
        assert f'step {(step + 1) % 3} trains on' not in log


def test_final_checkpoint(finished):
    scenario = build_scenario(finished.cfg)
    for step in range(3):
        path = finished.work_dir / f'step_{step}' / 'final.pth'
        checkpoint = torch.load(path, weights_only=True)
        assert sorted(checkpoint) == ['meta', 'state_dict']
        meta = checkpoint['meta']
        assert meta['dataset_meta']['classes'] == SHAPES_CLASSES[:19 + step]
        assert len(meta['dataset_meta']['palette']) == 19 + step
        info = meta['incremental']
        assert (info['step'], info['method']) == (step, 'mib')
        assert info['scenario'] == scenario.to_dict()
        weight = checkpoint['state_dict']['decode_head.conv_seg.weight']
        assert len(weight) == 19 + step
        # The student alone.
        assert not [k for k in checkpoint['state_dict'] if 'teacher' in k]


def test_steps_start_from_the_one_before(finished):
    logs = [
        next(finished.work_dir.glob(f'step_{step}/2*/*.log')).read_text()
        for step in range(3)
    ]
    assert 'Teacher' not in logs[0]
    for step in (1, 2):
        before = finished.work_dir / f'step_{step - 1}' / 'final.pth'
        assert f'Load checkpoint from {before}' in logs[step]
        assert f'Teacher: {before}, {18 + step} classes' in logs[step]
        assert (f'{18 + step} rows kept, 1 rows initialised by '
                "'background'") in logs[step]
        assert 'decode.loss_unkd' in logs[step]


def test_learning_rates(finished):
    for step, scale in ((0, 1), (1, None)):
        scalars = next(
            finished.work_dir.glob(f'step_{step}/2*/vis_data/scalars.json'))
        lines = [json.loads(x) for x in scalars.read_text().splitlines()]
        wrapper = finished.cfg if scale else finished.cfg.incremental_step
        base = wrapper.optim_wrapper.optimizer.lr
        length = 2 if step else 3
        # MMEngine's PolyLR is at its end in the last iteration.
        assert [line['lr'] for line in lines] == pytest.approx(
            [base * (1 - i / (length - 1))**0.9 for i in range(length)])


def test_steps_in_two_goes_are_the_same(finished, tiny_cfg, tmp_path):
    cfg = tiny_cfg(tmp_path, num_panel_images=0)
    results = run_steps(cfg, steps=[0, 1])
    assert results['complete'] is False
    assert [record['step'] for record in results['steps']] == [0, 1]
    results = run_steps(cfg, steps=[2])
    assert results['complete'] is True
    for step in range(3):
        ours, whole = (
            torch.load(root / f'step_{step}' / 'final.pth')['state_dict']
            for root in (tmp_path, finished.work_dir))
        assert all(torch.equal(ours[key], whole[key]) for key in whole)
        record = results['steps'][step]
        assert record['iou'] == finished.results['steps'][step]['iou']


def test_runners_are_freed(finished, tiny_cfg, tmp_path):

    def runners():
        gc.collect()
        return sum(isinstance(x, Runner) for x in gc.get_objects())

    before = runners()
    gc.disable()
    try:
        train_step(tiny_cfg(tmp_path), 0)
        left = [x for x in gc.get_objects() if isinstance(x, Runner)]
    finally:
        gc.enable()
    assert len(left) == before


def test_moving_average(tiny_cfg, tmp_path):
    """EMA starts each step from the weights of the one before."""
    cfg = tiny_cfg(
        tmp_path,
        num_panel_images=0,
        custom_hooks=[dict(type='EMAHook', momentum=0.5)],
        **{
            'default_hooks.checkpoint.interval': 2,
            'incremental_step.param_scheduler.0.end': 100
        })
    results = run_steps(cfg, steps=[0, 1])
    assert len(results['steps']) == 2
    weights = 'decode_head.conv_seg.weight'
    final = torch.load(tmp_path / 'step_1' / 'final.pth', weights_only=True)
    assert sorted(final) == ['meta', 'state_dict']
    last = torch.load(tmp_path / 'step_1' / 'iter_2.pth', weights_only=False)
    # The average is what is kept, and it is not the last iterate.
    ema = final['state_dict'][weights]
    assert torch.equal(ema, last['state_dict'][weights])
    student = last['ema_state_dict'][f'module.{weights}']
    assert len(ema) == 20 and not torch.equal(ema, student)
    # It began at the grown weights of step 0, not at random ones.
    start = torch.load(tmp_path / 'step_0' / 'final.pth')['state_dict']
    drift = (ema[:19] - start[weights]).abs().max()
    assert drift < 0.1 * start[weights].abs().max()
