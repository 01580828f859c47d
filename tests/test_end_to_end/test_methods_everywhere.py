"""Every method, by its name, on every kind of backbone and of data.

ResNet on shapes is that of ``test_methods.py``, and of ``test_resnet`` by the
tool. On photos and on a folder of one's own the backbones take turns, so that
a method has two of them there.
"""
import json
import runpy
from pathlib import Path
from typing import Callable

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from mmseg_incremental.engine.stock_config import to_stock_model

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'tests' / 'configs'
METHODS = ROOT / 'configs' / '_base_' / 'methods'
NAMES = sorted(path.stem for path in METHODS.glob('*.py'))
_CUSTOM = runpy.run_path(str(ROOT / 'tests' / 'custom_folder.py'))
draw_custom_folder = _CUSTOM['draw_custom_folder']
SHORT = _CUSTOM['SHORT_OPTIONS']
# Named after the configs of their models.
BACKBONES = ['shapes', 'mobilenetv2', 'mit', 'swin']


def in_turn(first: int) -> list:
    """Each method with one backbone, each backbone with a quarter of them."""
    turns = len(BACKBONES)
    return [(name, BACKBONES[(first + index) % turns])
            for index, name in enumerate(NAMES)]


def with_model_of(config: Path, backbone: str, folder: Path) -> Path:
    """Write a config that differs from another one by its model."""
    model = Config.fromfile(CONFIGS / f'tiny_{backbone}.py').model
    path = folder / f'{config.stem}_{backbone}.py'
    path.write_text(f'_base_ = {str(config)!r}\n'
                    f'model = dict(_delete_=True, **{model.to_dict()!r})\n')
    return path


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable:
    """Train two steps by the tool and check what it leaves."""
    main = runpy.run_path(str(ROOT / 'tools' / 'train.py'))['main']
    monkeypatch.setenv('LOCAL_RANK', '0')
    # The pictures are tested elsewhere and take a third of the time.
    monkeypatch.setattr('mmseg_incremental.engine.run_results.write_report',
                        lambda *args: [])

    def train(config: Path, method: str, *options: str) -> None:
        # Joint training has the one step.
        steps = [0] if method == 'joint' else [0, 1]
        monkeypatch.setattr('sys.argv', [
            'tools/train.py',
            str(config), '--method', method, '--steps', ','.join(
                map(str, steps)), '--work-dir',
            str(tmp_path / 'work'), '--cfg-options', 'num_panel_images=0',
            *options
        ])
        main()
        results = json.loads((tmp_path / 'work/results.json').read_text())
        assert results['method'] == method
        assert [record['step'] for record in results['steps']] == steps
        last = results['steps'][-1]
        assert len(last['iou']) > 2 and set(last['iou']) <= set(
            last['seen_classes'])
        assert all(0 <= iou <= 100 for iou in last['iou'].values())
        check_checkpoint(tmp_path / 'work' / f'step_{steps[-1]}')

    return train


def check_checkpoint(folder: Path) -> None:
    """See that a stock model takes the final checkpoint as it is."""
    dumped, = (p for p in folder.glob('*.py') if p.name != 'deploy.py')
    model = MODELS.build(to_stock_model(Config.fromfile(dumped).model))
    state = torch.load(folder / 'final.pth')['state_dict']
    model.load_state_dict(state, strict=True)
    assert all(value.isfinite().all() for value in state.values())


@pytest.mark.slow
@pytest.mark.parametrize('backbone', ['mobilenetv2', 'mit', 'swin'])
@pytest.mark.parametrize('name', NAMES)
def test_backbones(check, shapes_root, name, backbone):
    check(CONFIGS / f'tiny_{backbone}.py', name, f'data_root={shapes_root}')


@pytest.mark.slow
@pytest.mark.parametrize('name', ['plop', 'mib_ewc'])
def test_resnet(check, shapes_root, name):
    check(CONFIGS / 'tiny_shapes.py', name, f'data_root={shapes_root}')


@pytest.mark.slow
@pytest.mark.parametrize('name, backbone', in_turn(0))
def test_custom_folder(check, tmp_path, name, backbone):
    draw_custom_folder(tmp_path / 'mine')
    config = ROOT / 'configs' / 'incremental' / 'custom_voc_layout.py'
    check(
        with_model_of(config, backbone, tmp_path), name,
        f'data_root={tmp_path / "mine"}', *SHORT)


@pytest.mark.slow
@pytest.mark.parametrize('name, backbone', in_turn(1))
def test_voc(check, few_voc_photos, tmp_path, name, backbone):
    config = ROOT / 'configs' / 'incremental' / 'voc_15-5_cpu.py'
    check(
        with_model_of(config, backbone, tmp_path), name,
        f'data_root={few_voc_photos}', *SHORT)


@pytest.fixture(scope='module')
def few_voc_photos(test_data, tmp_path_factory) -> Path:
    """A VOC root that names 40 photos for training and 4 for validation."""
    subset = test_data / 'data' / 'voc2012_subset'
    if not subset.is_dir():
        pytest.skip(f'no VOC photos: {subset} does not exist')
    root = tmp_path_factory.mktemp('voc')
    for folder in ('JPEGImages', 'SegmentationClassAug'):
        (root / folder).symlink_to(subset / folder)
    lists = 'ImageSets/Segmentation'
    (root / lists).mkdir(parents=True)
    for name, count in (('train_aug.txt', 40), ('val.txt', 4)):
        ids = (subset / lists / name).read_text().split()
        (root / lists / name).write_text('\n'.join(ids[:count]))
    return root
