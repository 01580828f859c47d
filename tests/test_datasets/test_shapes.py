import json
import multiprocessing
import os
import os.path as osp
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset import pseudo_collate
from mmseg.registry import DATASETS
from mmseg.utils import register_all_modules
from PIL import Image

from mmseg_incremental.datasets.shapes import (SHAPES_CLASSES, SHAPES_PALETTE,
                                               ShapesDataset)
from mmseg_incremental.datasets.shapes import dataset as dataset_module
from mmseg_incremental.datasets.shapes import draw_shapes, storage
from mmseg_incremental.datasets.shapes.drawing import draw_picture, rasterise
from mmseg_incremental.datasets.shapes.glyphs import GLYPHS
from mmseg_incremental.errors import IncrementalConfigError

SMALL = dict(seed=3, num_train=40, num_val=8, size=64)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    draw_shapes(str(folder), **SMALL)
    return folder


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(Path(folder).rglob('*')) if path.is_file()
    }


def pictures(count, size=96):
    return [draw_picture(0, 'train', index, size) for index in range(count)]


def test_classes_and_palette():
    assert len(set(SHAPES_CLASSES)) == 21
    assert SHAPES_CLASSES[0] == 'background'
    assert len({tuple(colour) for colour in SHAPES_PALETTE}) == 21


def test_layout_of_pascal_voc(root):
    files = set(contents(root))
    for split, count in (('train', 40), ('val', 8)):
        listed = (root / f'ImageSets/Segmentation/{split}.txt').read_text()
        names = listed.splitlines()
        assert len(set(names)) == count
        for name in names:
            assert f'JPEGImages/{name}.png' in files
            assert f'SegmentationClass/{name}.png' in files
    assert len(files) == 2 * 48 + 2 + 1


def test_files_hold_the_pictures(root):
    image = Image.open(root / 'JPEGImages/val_00005.png')
    mask = Image.open(root / 'SegmentationClass/val_00005.png')
    assert image.mode == 'RGB' and mask.mode == 'P'
    palette = np.array(mask.getpalette()).reshape(-1, 3)
    assert palette[:21].tolist() == SHAPES_PALETTE
    drawn_image, drawn_mask = draw_picture(3, 'val', 5, 64)
    np.testing.assert_array_equal(np.array(image), drawn_image)
    np.testing.assert_array_equal(np.array(mask), drawn_mask)


def test_same_seed_same_bytes(root, tmp_path):
    draw_shapes(str(tmp_path / 'again'), **SMALL)
    assert contents(tmp_path / 'again') == contents(root)


def test_seed_split_and_index_all_matter():
    drawn = [
        draw_picture(*key, 64)[0].tobytes()
        for key in ((0, 'train', 0), (1, 'train', 0), (0, 'val', 0),
                    (0, 'train', 1))
    ]
    assert len(set(drawn)) == 4


def test_every_class_is_present_and_cooccurs():
    held = [set(np.unique(mask)) - {0, 255} for _, mask in pictures(400, 64)]
    counts = [sum(c in labels for labels in held) for c in range(1, 21)]
    assert min(counts) >= 0.08 * len(held)
    pairs = {pair for labels in held for pair in combinations(labels, 2)}
    assert {frozenset(p)
            for p in pairs
            } == {frozenset(p)
                  for p in combinations(range(1, 21), 2)}


@pytest.mark.parametrize('size', [64, 128])
def test_mask_values_and_visible_objects(size):
    for image, mask in (draw_picture(1, 'train', i, size) for i in range(40)):
        assert image.shape == (size, size, 3) and image.dtype == np.uint8
        assert mask.shape == (size, size) and mask.dtype == np.uint8
        labels, pixels = np.unique(mask, return_counts=True)
        assert set(labels) <= {*range(21), 255}
        objects = [n for v, n in zip(labels, pixels) if 0 < v < 255]
        assert 2 <= len(objects) <= 5
        assert min(objects) >= 40


def test_void_separates_every_pair_of_labels():
    for _, mask in pictures(20):
        for one, other in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
            touching = (one != other) & (one != 255) & (other != 255)
            assert not touching.any()
        assert 0.005 < (mask == 255).mean() < 0.1


def test_colour_does_not_tell_the_class():
    samples = {label: [] for label in range(1, 21)}
    for image, mask in pictures(200, 64):
        for label in set(np.unique(mask)) - {0, 255}:
            samples[label].append(image[mask == label].mean(axis=0))
    within = np.mean([np.var(s, axis=0) for s in samples.values()])
    between = np.var([np.mean(s, axis=0) for s in samples.values()], axis=0)
    # Of n samples each, means of one common distribution vary by within / n.
    expected = within / np.mean([len(s) for s in samples.values()])
    assert between.mean() < 3 * expected < 0.2 * within


def test_objects_stand_out_from_the_background():
    for image, mask in pictures(40):
        brightness = image.mean(axis=2)
        inside = (mask > 0) & (mask < 255)
        assert brightness[inside].mean() > brightness[mask == 0].mean() + 30


def upright(name):
    """A glyph's coverage with every random choice at its mean."""

    class Middle:

        def uniform(self, low, high, shape=None):
            middle = (low + high) / 2
            return middle if shape is None else np.full(shape, middle)

    return rasterise(Middle(), GLYPHS[name], 96) >= 0.5


def test_outlines_differ():
    drawn = {name: upright(name) for name in GLYPHS}
    for one, other in combinations(drawn, 2):
        overlap = (drawn[one] & drawn[other]).sum()
        union = (drawn[one] | drawn[other]).sum()
        assert overlap / union < 0.85, (one, other)


def test_areas_of_known_outlines():
    # The mean side is 40 % of the picture. The pixels that an outline passes
    # through are filled too, which adds a little.
    side = 0.4 * 96
    expected = dict(
        disc=np.pi / 4,
        square=1.,
        ring=np.pi / 4 * (1 - 0.55**2),
        bar=0.3,
        triangle=0.875 / 2)
    for name, share in expected.items():
        assert upright(name).sum() == pytest.approx(share * side**2, rel=0.07)


def test_a_drawn_folder_is_reused(root, monkeypatch):
    (root / 'class_index.npz').write_bytes(b'of the user')

    def fail(*args):
        raise AssertionError('drawn again')

    monkeypatch.setattr(storage, 'draw_picture', fail)
    draw_shapes(str(root), **SMALL)
    os.remove(root / 'class_index.npz')


@pytest.mark.parametrize('key', ['seed', 'num_train', 'num_val', 'size'])
def test_other_parameters_are_refused(root, key):
    before = contents(root)
    other = dict(SMALL, **{key: SMALL[key] + 1})
    with pytest.raises(
            IncrementalConfigError,
            match=f'{key}={SMALL[key]}.*{key}={other[key]}.*another data_root'
    ):
        draw_shapes(str(root), **other)
    assert contents(root) == before


@pytest.mark.parametrize('file,content', [
    ('holiday.jpg', 'a picture'),
    ('shapes.json', 'no JSON'),
    ('shapes.json', '[1, 2]'),
])
def test_foreign_content_is_refused(tmp_path, file, content):
    (tmp_path / file).write_text(content)
    with pytest.raises(IncrementalConfigError, match='is left alone'):
        draw_shapes(str(tmp_path), **SMALL)
    assert contents(tmp_path) == {file: content.encode()}


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / 'shapes').write_text('a file')
    with pytest.raises(IncrementalConfigError, match='is in use'):
        draw_shapes(str(tmp_path / 'shapes'), **SMALL)
    with pytest.raises(IncrementalConfigError, match='cannot be written'):
        draw_shapes(str(tmp_path / 'shapes' / 'below'), **SMALL)
    assert (tmp_path / 'shapes').read_text() == 'a file'


def test_an_older_drawing_is_refused(tmp_path):
    few = dict(SMALL, num_train=1, num_val=1)
    draw_shapes(str(tmp_path), **few)
    file = tmp_path / 'shapes.json'
    stored = json.loads(file.read_text())
    file.write_text(json.dumps(dict(stored, version=0)))
    with pytest.raises(IncrementalConfigError, match='version=0'):
        draw_shapes(str(tmp_path), **few)


@pytest.mark.parametrize(
    'lost', ['JPEGImages/val_00000.png', 'ImageSets/Segmentation/train.txt'])
def test_an_incomplete_folder_is_refused(tmp_path, lost):
    few = dict(SMALL, num_train=1, num_val=1)
    draw_shapes(str(tmp_path), **few)
    os.remove(tmp_path / lost)
    with pytest.raises(IncrementalConfigError, match='lacks 1 of its files'):
        draw_shapes(str(tmp_path), **few)


def test_an_interrupted_drawing_leaves_nothing(tmp_path, monkeypatch):

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, 'draw_picture', interrupt)
    with pytest.raises(KeyboardInterrupt):
        draw_shapes(str(tmp_path / 'shapes'), **SMALL)
    assert os.listdir(tmp_path) == []


def test_a_link_is_followed(tmp_path):
    (tmp_path / 'disk').mkdir()
    (tmp_path / 'shapes').symlink_to(tmp_path / 'disk')
    draw_shapes(str(tmp_path / 'shapes'), **dict(SMALL, num_train=1))
    assert (tmp_path / 'shapes').is_symlink()
    assert (tmp_path / 'disk' / 'shapes.json').is_file()


@pytest.mark.parametrize('key,value', [('seed', -1), ('num_train', 0),
                                       ('num_val', 2.5), ('size', 32),
                                       ('seed', True), ('size', '128')])
def test_parameters_out_of_range(tmp_path, key, value):
    with pytest.raises(IncrementalConfigError, match=f'{key}={value!r}'):
        draw_shapes(str(tmp_path / 'shapes'), **dict(SMALL, **{key: value}))
    assert os.listdir(tmp_path) == []


def draw_after(start, root):
    start.wait()
    draw_shapes(root, **SMALL)


@pytest.mark.skipif(
    'fork' not in multiprocessing.get_all_start_methods(),
    reason='two processes start together by fork')
def test_two_processes_starting_together(root, tmp_path):
    context = multiprocessing.get_context('fork')
    start = context.Barrier(2)
    target = str(tmp_path / 'shapes')
    processes = [
        context.Process(target=draw_after, args=(start, target))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert contents(target) == contents(root)
    assert os.listdir(tmp_path) == ['shapes']


def test_losing_the_race_keeps_the_winner(root, tmp_path, monkeypatch):
    target = tmp_path / 'shapes'
    write = storage._write

    def overtaken(folder, parameters):
        write(folder, parameters)
        if not target.exists():
            monkeypatch.setattr(storage, '_write', write)
            draw_shapes(str(target), **SMALL)
            (target / 'winner').touch()

    monkeypatch.setattr(storage, '_write', overtaken)
    draw_shapes(str(target), **SMALL)
    assert (target / 'winner').exists()
    assert os.listdir(tmp_path) == ['shapes']


def build(root, **kwargs):
    register_all_modules(init_default_scope=True)
    return DATASETS.build(
        dict(
            type='ShapesDataset',
            data_root=str(root),
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations'),
                dict(type='PackSegInputs')
            ],
            **SMALL,
            **kwargs))


@pytest.mark.parametrize('split,count', [('train', 40), ('val', 8)])
def test_dataset_is_an_ordinary_one(tmp_path, root, split, count):
    dataset = build(
        tmp_path / 'shapes', ann_file=f'ImageSets/Segmentation/{split}.txt')
    assert isinstance(dataset, ShapesDataset)
    assert len(dataset) == count
    assert dataset.metainfo['classes'] == SHAPES_CLASSES
    assert dataset.metainfo['palette'] == SHAPES_PALETTE
    batch = pseudo_collate([dataset[0], dataset[count - 1]])
    for picture, sample, index in zip(batch['inputs'], batch['data_samples'],
                                      (0, count - 1)):
        image, mask = draw_picture(SMALL['seed'], split, index, 64)
        # MMSegmentation loads pictures as BGR.
        np.testing.assert_array_equal(
            picture.numpy().transpose(1, 2, 0)[..., ::-1], image)
        np.testing.assert_array_equal(sample.gt_sem_seg.data[0].numpy(), mask)


def test_dataset_passes_host_arguments_on(root):
    dataset = build(root, indices=5, metainfo=dict(classes=SHAPES_CLASSES[:3]))
    assert len(dataset) == 5
    assert dataset.label_map[2] == 2 and dataset.label_map[3] == 255


def test_other_ranks_wait_for_the_main_process(tmp_path, monkeypatch):
    target = tmp_path / 'shapes'
    monkeypatch.setattr(dataset_module, 'is_main_process', lambda: False)

    def main_process_arrives():
        assert not target.exists()
        draw_shapes(str(target), **SMALL)
        (target / 'main').touch()

    monkeypatch.setattr(dataset_module, 'barrier', main_process_arrives)
    build(target)
    assert osp.exists(target / 'main')


def test_a_failing_main_process_still_meets_the_others(tmp_path, monkeypatch):
    (tmp_path / 'foreign').touch()
    met = []
    monkeypatch.setattr(dataset_module, 'barrier', lambda: met.append(True))
    with pytest.raises(IncrementalConfigError, match='is left alone'):
        build(tmp_path)
    assert met == [True]
