import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / 'tools' / 'dataset_tools' / 'voc.py'
TRAIN, VAL = ('2007_000001', '2008_000002', '2009_000003'), ('2007_000004', )


@pytest.fixture(scope='module')
def voc():
    spec = spec_from_file_location('voc_tool', SCRIPT)
    module = module_from_spec(spec)
    # `dataclass` looks its module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def save_mask(root, image_id, values, size=(4, 3)):
    mask = np.resize(np.array(values, np.uint8), size[::-1])
    Image.fromarray(mask).save(root / f'SegmentationClassAug/{image_id}.png')


@pytest.fixture
def root(tmp_path):
    for name in ('JPEGImages', 'SegmentationClassAug',
                 'ImageSets/Segmentation'):
        (tmp_path / name).mkdir(parents=True)
    for image_id in TRAIN + VAL:
        Image.new('RGB', (4, 3)).save(tmp_path / f'JPEGImages/{image_id}.jpg')
        save_mask(tmp_path, image_id, [0, 20, 255])
    write_list(tmp_path, 'train_aug', TRAIN)
    write_list(tmp_path, 'val', VAL)
    return tmp_path


def write_list(root, split, ids):
    path = root / f'ImageSets/Segmentation/{split}.txt'
    path.write_text(''.join(f'{image_id}\n' for image_id in ids))
    return path


def test_subset_is_usable(voc, root, capsys):
    assert voc.main([str(root)]) == 0
    out = capsys.readouterr().out
    assert 'train_aug.txt is a subset: 3 of 10,582' in out
    assert 'val.txt is a subset: 1 of 1,449' in out
    assert 'How to get' not in out


def test_complete(voc, root, monkeypatch, capsys):
    monkeypatch.setattr(voc, 'PUBLISHED', dict(train_aug=3, val=1))
    assert voc.main([str(root)]) == 0
    assert capsys.readouterr().out.endswith('Complete.\n')


def test_more_than_published(voc, root, monkeypatch, capsys):
    monkeypatch.setattr(voc, 'PUBLISHED', dict(train_aug=2, val=1))
    assert voc.main([str(root)]) == 0
    assert 'train_aug.txt is 3, published are 2' in capsys.readouterr().out


def remove_image(root):
    (root / 'JPEGImages/2007_000001.jpg').unlink()


def remove_mask(root):
    (root / 'SegmentationClassAug/2007_000004.png').unlink()


def remove_list(root):
    (root / 'ImageSets/Segmentation/val.txt').unlink()


def wrong_label(root):
    save_mask(root, TRAIN[1], [0, 21])


def wrong_size(root):
    save_mask(root, TRAIN[1], [0], size=(3, 4))


def color_mask(root):
    path = root / f'SegmentationClassAug/{TRAIN[1]}.png'
    Image.new('RGB', (4, 3)).save(path)


def truncate_mask(root):
    path = root / f'SegmentationClassAug/{TRAIN[1]}.png'
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize(
    'damage, message',
    [(remove_image, '1 listed files missing: 2007_000001'),
     (remove_mask, '1 listed files missing: 2007_000004'),
     (remove_list, 'missing, 1,449 ids wanted'),
     (wrong_label, '2008_000002.png holds labels [21]'),
     (wrong_size, '2008_000002.png is (3, 4), its image (4, 3)'),
     (color_mask, '2008_000002.png is RGB and not one label'),
     (truncate_mask, '2008_000002 cannot be read')])
def test_incomplete(voc, root, capsys, monkeypatch, damage, message):
    damage(root)
    monkeypatch.setattr(voc, 'CELL_WIDTH', 500)
    assert voc.main([str(root)]) == 1
    out = capsys.readouterr().out
    assert message in out
    assert 'How to get the complete data' in out
    assert out.splitlines()[-1].startswith('Incomplete: see ')


@pytest.mark.parametrize(
    'ids, message', [([], 'empty, 10,582 ids wanted'),
                     (TRAIN + TRAIN[:1], '1 ids more than once: 2007_000001'),
                     (TRAIN + VAL, '1 ids are in val too: 2007_000004'),
                     (['/JPEGImages/a.jpg /SegmentationClassAug/a.png'
                       ], '1 lines that are not one id')])
def test_bad_list(voc, root, capsys, monkeypatch, ids, message):
    write_list(root, 'train_aug', ids)
    monkeypatch.setattr(voc, 'CELL_WIDTH', 500)
    assert voc.main([str(root)]) == 1
    assert message in capsys.readouterr().out


@pytest.mark.parametrize('flags, read, code', [([], 2, 0), (['--all'], 4, 1)])
def test_all_reads_every_mask(voc, root, capsys, monkeypatch, flags, read,
                              code):
    wrong_label(root)
    # The sample of two takes the first and the last id.
    monkeypatch.setattr(voc, 'SAMPLE_SIZE', 2)
    assert voc.main([str(root), *flags]) == code
    assert f'{read} masks read' in capsys.readouterr().out


def test_write_train_aug(voc, root, capsys):
    path = root / 'ImageSets/Segmentation/train_aug.txt'
    path.unlink()
    # An image without a mask must not get into the list.
    Image.new('RGB', (4, 3)).save(root / 'JPEGImages/2010_000005.jpg')
    assert voc.main([str(root), '--write-train-aug']) == 0
    assert path.read_text().split() == list(TRAIN)
    assert 'written: 3 ids' in capsys.readouterr().out


def test_write_train_aug_never_overwrites(voc, root, capsys):
    path = write_list(root, 'train_aug', TRAIN[:1])
    assert voc.main([str(root), '--write-train-aug']) == 0
    assert path.read_text() == f'{TRAIN[0]}\n'
    assert 'exists and is kept' in capsys.readouterr().out


@pytest.mark.parametrize('ids', [None, TRAIN + VAL])
def test_write_train_aug_not_possible(voc, root, capsys, ids):
    path = root / 'ImageSets/Segmentation/train_aug.txt'
    path.unlink()
    if ids is None:
        remove_list(root)
    else:
        write_list(root, 'val', ids)
    assert voc.main([str(root), '--write-train-aug']) == 1
    assert not path.exists()
    assert 'is not written' in capsys.readouterr().out


def test_bad_root(tmp_path):
    result = subprocess.run(
        [sys.executable, str(SCRIPT),
         str(tmp_path / 'absent')],
        capture_output=True,
        text=True)
    assert result.returncode == 2
    assert 'but an existing folder' in result.stderr
    assert 'Traceback' not in result.stderr


def test_root_one_level_up(voc, root, tmp_path_factory, capsys):
    devkit = tmp_path_factory.mktemp('VOCdevkit')
    (devkit / 'VOC2012').symlink_to(root)
    with pytest.raises(SystemExit) as error:
        voc.main([str(devkit)])
    assert error.value.code == 2
    assert f'{devkit / "VOC2012"}: give that' in capsys.readouterr().err


def test_real_subset(voc, test_data, capsys):
    subset = test_data / 'data' / 'voc2012_subset'
    if not subset.is_dir():
        pytest.skip(f'{subset} is absent')
    assert voc.main([str(subset)]) == 0
    out = capsys.readouterr().out
    assert 'a subset: 1,030 of 10,582' in out
    assert 'a subset: 669 of 1,449' in out
