import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from mmseg.registry import DATASETS
from PIL import Image

from mmseg_incremental.engine import build_scenario, load_config

_CUSTOM = runpy.run_path(str(Path(__file__).parents[1] / 'custom_folder.py'))
draw_custom_folder = _CUSTOM['draw_custom_folder']
TINY = _CUSTOM['TINY_OPTIONS']

PAGE = 'mmseg_incremental/datasets/README.md'
CONFIG = 'configs/incremental/custom_voc_layout.py'
NAMES = ['background', 'crack', 'pothole', 'patch', 'manhole', 'marking']
VOID = 255


@pytest.fixture
def folder(checkout):
    """Pictures of five classes in the layout and place of the page."""
    root = checkout / 'data/mine'
    draw_custom_folder(root)
    return root


def test_shown_config_is_the_shipped_one(checkout, read_blocks):
    assert read_blocks(PAGE, 'python')[0] == (checkout / CONFIG).read_text()


def test_listed_files_exist(check_listed_files):
    check_listed_files(PAGE)


def test_plan_of_the_shown_config(folder, read_commands, train, capsys):
    train(read_commands(PAGE)[0])
    rows = [[cell.strip() for cell in line.split('|')[1:-1]]
            for line in capsys.readouterr().out.splitlines()
            if line.startswith('|')]
    assert rows[1:] == [[
        '0', 'background, crack, pothole, patch', '4', '6', '3'
    ], ['1', 'manhole, marking', '6', '4', '3']]


def test_shown_config_is_run(checkout, folder, read_commands, train):
    _, command, command_with_base = read_commands(PAGE)
    train([*command, *TINY])
    work_dir = checkout / 'work_dirs/custom_voc_layout'
    results = json.loads((work_dir / 'results.json').read_text())
    assert results['complete'] and results['class_names'] == NAMES
    first, second = results['steps']
    assert first['seen_classes'] == first['new_classes'] == NAMES[:4]
    assert second['seen_classes'] == NAMES
    assert second['new_classes'] == NAMES[4:]
    assert (first['num_train_images'], second['num_train_images']) == (6, 4)
    assert set(second['iou']) == set(NAMES)
    assert all(0 <= iou <= 100 for iou in second['iou'].values())

    # A trained model of the first classes stands in for step 0.
    (work_dir / 'step_0/final.pth').rename('my_model.pth')
    train([*command_with_base, *TINY])
    work_dir = checkout / 'work_dirs/mine'
    results = json.loads((work_dir / 'results.json').read_text())
    assert results['complete']
    assert results['steps'][0]['iou'] == pytest.approx(first['iou'])
    # Step 0 was evaluated, not trained.
    assert not list((work_dir / 'step_0').glob('*/*.log'))
    assert list((work_dir / 'step_1').glob('*/*.log'))


def test_mask_with_another_value_is_named(folder, train, capsys):
    path = folder / 'SegmentationClass/train_0.png'
    Image.fromarray(np.full((64, 96), 6, np.uint8)).save(path)
    train([CONFIG, '--dry-run'])
    out = capsys.readouterr().out
    assert 'train_0.png holds the ids [6]' in out and '0-5 and 255' in out


def test_three_line_class(read_blocks, tmp_path):
    source, use = read_blocks(PAGE, 'python')[1:]
    code = compile(source, PAGE, 'exec')
    assert len(source.split('\n\n\n')[1].splitlines()) == 3
    for split in ('img_dir/train', 'ann_dir/train'):
        (tmp_path / split).mkdir(parents=True)
    Image.new('RGB', (8, 8)).save(tmp_path / 'img_dir/train/0.png')
    # LoveDA: 0 is not labelled, 1 the background, 2 building ... 7
    # agricultural.
    mask = np.arange(8, dtype=np.uint8).repeat(8).reshape(8, 8)
    Image.fromarray(mask).save(tmp_path / 'ann_dir/train/0.png')

    namespace = {}
    exec(use, namespace)
    config = tmp_path / 'config.py'
    config.write_text(f"{use}scenario = dict(task='4-2')\n")
    registered = set(DATASETS.module_dict)
    try:
        exec(code, {})
        assert set(DATASETS.module_dict) - registered == {
            'IncrementalLoveDADataset'
        }
        scenario = build_scenario(load_config(str(config)))
        assert len(scenario) == 2 and scenario.num_classes == 6
        dataset = DATASETS.build(
            dict(
                namespace['train_dataloader']['dataset'],
                data_root=str(tmp_path),
                scenario=dict(task='4-2'),
                step=1))
    finally:
        for name in set(DATASETS.module_dict) - registered:
            del DATASETS.module_dict[name]
    assert dataset.metainfo['classes'] == scenario.names(scenario.seen(1))
    labels = dataset[0]['data_samples'].gt_sem_seg.data.numpy()[0]
    # Step 1 labels forest and agricultural, heads 5 and 6.
    assert labels[:, 0].tolist() == [VOID, 0, 0, 0, 0, 0, 5, 6]
