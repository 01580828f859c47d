import cv2
import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from mmseg_incremental.engine import build_scenario
from mmseg_incremental.engine.panel import choose_images, prepare_panel


class Dataset:
    """Images that hold given head indices."""

    def __init__(self, categories, num_classes):
        self.categories = categories
        self.metainfo = dict(classes=tuple(range(num_classes)))

    def __len__(self):
        return len(self.categories)

    def get_cat_ids(self, idx):
        return self.categories[idx]


@pytest.mark.parametrize(
    'categories, number, chosen',
    [
        # Base classes are 1 and 2, later ones 3 and 4.
        ([[0, 3], [0, 1], [0, 1, 4]], 1, [2]),
        ([[0, 3], [0, 1], [0, 1, 4]], 2, [2, 1]),
        # What is shown already counts no more.
        ([[1, 3], [1, 2, 3], [1, 2], [1, 4]], 3, [1, 3, 0]),
        # Without a base class only when no other is left.
        ([[3, 4], [1]], 2, [1, 0]),
        ([[1], [2]], 9, [0, 1]),
    ])
def test_choice(tiny_cfg, tmp_path, categories, number, chosen):
    scenario = build_scenario(
        tiny_cfg(tmp_path, **{'scenario.task': [['disc', 'square'],
                                                ['ring']]}))
    assert choose_images(Dataset(categories, 5), scenario, number) == chosen


def test_panel(tiny_cfg, tmp_path):
    cfg = tiny_cfg(tmp_path, num_panel_images=2, **{'scenario.class_order': 3})
    scenario = build_scenario(cfg)
    hook = prepare_panel(cfg, 1)
    folder = tmp_path / 'panel'
    assert hook == dict(
        type='PanelHook',
        image_ids=sorted(p.name for p in folder.iterdir()),
        labels=list(scenario.seen(1)),
        out_dir=str(tmp_path / 'step_1' / 'panel'))
    assert len(hook['image_ids']) == 2
    root = cfg.data_root
    for name in hook['image_ids']:
        image = cv2.imread(str(folder / name / 'image.png'))
        original = cv2.imread(f'{root}/JPEGImages/{name}.png')
        np.testing.assert_array_equal(image, original)
        mask = cv2.imread(str(folder / name / 'ground_truth.png'), -1)
        # Dataset labels, whatever the order of the classes.
        init_default_scope('mmseg')
        raw = DATASETS.build(
            dict(
                cfg.test_dataloader.dataset.dataset,
                pipeline=[dict(type='LoadAnnotations')]))
        raw = next(item['gt_seg_map'] for item in raw
                   if f'/{name}.png' in item['img_path'])
        np.testing.assert_array_equal(mask, raw)


def test_images_are_chosen_once_a_run(tiny_cfg, tmp_path):
    cfg = tiny_cfg(tmp_path, num_panel_images=3)
    first = prepare_panel(cfg, 0)['image_ids']
    times = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*.png')}
    cfg.num_panel_images = 1
    assert prepare_panel(cfg, 2)['image_ids'] == first
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*.png')} == times


def test_no_panel(tiny_cfg, tmp_path):
    assert prepare_panel(tiny_cfg(tmp_path, num_panel_images=0), 0) is None
    cfg = tiny_cfg(tmp_path)
    inner = cfg.test_dataloader.dataset
    cfg.test_dataloader.dataset = dict(
        type='ConcatDataset', datasets=[inner, inner])
    assert prepare_panel(cfg, 0) is None
    assert not list(tmp_path.iterdir())
