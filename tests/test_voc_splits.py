import tarfile
from collections import namedtuple

import numpy as np
import pytest
from PIL import Image

from mmseg_incremental.datasets.class_index import class_presence
from mmseg_incremental.scenario import ClassIncrementalScenario

TASKS = ('19-1', '15-5', '15-1', '10-10', '10-5', '10-1', '5-3', '5-1', '2-2',
         '2-1')
SETTINGS = ('overlapped', 'disjoint')
# numbers of training images a step, as in the published split files
SIZES = {
    ('19-1', 'disjoint'): [10034, 548],
    ('19-1', 'overlapped'): [10410, 548],
    ('15-5', 'disjoint'): [8437, 2145],
    ('15-5', 'overlapped'): [9568, 2145],
    ('15-1', 'disjoint'): [8437, 378, 299, 420, 500, 548],
    ('15-1', 'overlapped'): [9568, 487, 299, 491, 500, 548],
    ('10-1', 'disjoint'):
    [3706, 188, 868, 227, 201, 3247, 378, 299, 420, 500, 548],
    ('10-1', 'overlapped'):
    [6139, 528, 1177, 444, 482, 3898, 487, 299, 491, 500, 548],
    ('10-10', 'disjoint'): [3706, 6876],
    ('10-10', 'overlapped'): [6139, 6876],
    ('5-3', 'disjoint'): [1753, 1517, 624, 1296, 3924, 1468],
    ('5-3', 'overlapped'): [2836, 2331, 1542, 2095, 4484, 1468],
}
# numbers of evaluation images by the number of seen foreground classes
VAL_SIZES = {
    5: 433, 10: 869, 15: 1240, 16: 1277, 17: 1329, 18: 1353, 19: 1421, 20: 1449
}  # yapf: disable
Split = namedtuple('Split', ['presence', 'labels'])


@pytest.fixture(scope='module')
def voc(test_data, tmp_path_factory):
    """Both splits: what the class index says, and sets of labels read without
    it."""
    data, root = test_data / 'data', tmp_path_factory.mktemp('voc')
    archive = data / 'voc2012_SegmentationClassAug.tar.xz'
    if not archive.is_file():
        pytest.skip(f'no VOC masks: {archive} does not exist')
    with tarfile.open(archive) as tar:
        tar.extractall(root, filter='data')
    splits = {}
    for name in ('train_aug', 'val'):
        ids = (data / f'voc2012_{name}.txt').read_text().split()
        paths = [root / 'SegmentationClassAug' / f'{i}.png' for i in ids]
        presence = class_presence(paths, nproc=2)
        splits[name] = Split(presence, [read_labels(path) for path in paths])
    return splits


def read_labels(path):
    with Image.open(path) as mask:
        return {label for _, label in mask.getcolors()}


def expected_lists(task, setting, labels):
    """The rule, in sets: a new class is there, a future class is not."""
    base, increment = map(int, task.split('-'))
    ends = [base]
    while ends[-1] < 20:
        ends.append(ends[-1] + increment)
    lists, start = [], 1
    for end in ends:
        new = set(range(start, end + 1))
        allowed = set(range(end + 1)) | {255}
        lists.append([
            i for i, image in enumerate(labels)
            if image & new and (setting == 'overlapped' or image <= allowed)
        ])
        start = end + 1
    return lists


def select_all(voc, task, setting):
    scenario = ClassIncrementalScenario(20, task, setting=setting)
    presence = voc['train_aug'].presence[:, :21]
    return [scenario.select(presence, t) for t in range(len(scenario))]


@pytest.mark.parametrize('name, num_masks', [('train_aug', 10582),
                                             ('val', 1449)])
def test_presence_of_every_mask(voc, name, num_masks):
    presence, labels = voc[name]
    assert presence.shape == (num_masks, 256) and presence.dtype == bool
    assert [set(np.flatnonzero(row).tolist()) for row in presence] == labels
    assert set().union(*labels) == set(range(21)) | {255}


def test_tasks_have_154_lists():
    steps = sum(len(ClassIncrementalScenario(20, task)) for task in TASKS)
    assert steps * len(SETTINGS) == 154


@pytest.mark.parametrize('setting', SETTINGS)
@pytest.mark.parametrize('task', TASKS)
def test_lists_follow_the_rule(voc, task, setting):
    lists = select_all(voc, task, setting)
    assert [indices.tolist()
            for indices in lists] == expected_lists(task, setting,
                                                    voc['train_aug'].labels)


@pytest.mark.parametrize('task, setting', SIZES)
def test_published_sizes(voc, task, setting):
    lists = select_all(voc, task, setting)
    assert [len(indices) for indices in lists] == SIZES[task, setting]


@pytest.mark.parametrize('task', TASKS)
def test_disjoint_uses_every_image_once(voc, task):
    used = np.concatenate(select_all(voc, task, 'disjoint'))
    assert sorted(used.tolist()) == list(range(10582))


@pytest.mark.parametrize('task', TASKS)
def test_sequential_uses_the_disjoint_images(voc, task):
    sequential = select_all(voc, task, 'sequential')
    disjoint = select_all(voc, task, 'disjoint')
    assert all(map(np.array_equal, sequential, disjoint))


@pytest.mark.parametrize('num_seen', VAL_SIZES)
def test_published_val_sizes(voc, num_seen):
    presence = voc['val'].presence[:, :21]
    task = 'offline' if num_seen == 20 else f'{num_seen}-{20 - num_seen}'
    scenario = ClassIncrementalScenario(20, task)
    assert len(scenario.select(presence, 0, train=False)) == (
        VAL_SIZES[num_seen])
    scenario = ClassIncrementalScenario(20, task, protocol='ssul')
    assert len(scenario.select(presence, 0, train=False)) == 1449


def test_val_sizes_over_the_steps_of_15_1(voc):
    presence = voc['val'].presence[:, :21]
    scenario = ClassIncrementalScenario(20, '15-1')
    sizes = [len(scenario.select(presence, t, train=False)) for t in range(6)]
    assert sizes == [1240, 1277, 1329, 1353, 1421, 1449]
