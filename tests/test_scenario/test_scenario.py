import copy
import json
import pickle

import numpy as np
import pytest

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario import ClassIncrementalScenario

NAMES = ('background', 'cat', 'dog', 'horse', 'bird', 'boat')
# 6 is never learned; background and 5 classes are
CUSTOM = dict(num_classes=6, task=[[4, 2], [5], [1, 3]])
SETTINGS = ('overlapped', 'disjoint', 'sequential')


def random_presence(num_classes, num_images=300):
    rng = np.random.RandomState(0)
    return rng.rand(num_images, num_classes + 1) < 0.2


def test_old_new_seen_future():
    scenario = ClassIncrementalScenario(**CUSTOM)
    assert [scenario.new(t) for t in range(3)] == [(0, 4, 2), (5, ), (1, 3)]
    assert [scenario.old(t) for t in range(3)] == [(), (0, 4, 2), (0, 4, 2, 5)]
    assert [scenario.num_old(t) for t in range(3)] == [0, 3, 4]
    assert scenario.seen(1) == (0, 4, 2, 5)
    assert scenario.seen(2) == (0, 4, 2, 5, 1, 3)
    assert [scenario.future(t) for t in range(3)] == [(5, 1, 3), (1, 3), ()]


TRAIN_MAPS = dict(
    overlapped={0: 0, 1: 0, 2: 0, 3: 0, 4: 0, 5: 3, 6: 0},
    disjoint={0: 0, 1: 0, 2: 0, 3: 0, 4: 0, 5: 3, 6: 0},
    sequential={0: 0, 1: 0, 2: 2, 3: 0, 4: 1, 5: 3, 6: 0})  # yapf: disable


@pytest.mark.parametrize('setting', SETTINGS)
@pytest.mark.parametrize('protocol', ['plop', 'mib', 'ssul'])
def test_label_map_train(setting, protocol):
    scenario = ClassIncrementalScenario(
        **CUSTOM, setting=setting, protocol=protocol)
    expected = dict(TRAIN_MAPS[setting])
    if protocol == 'mib':
        expected[255] = 0
    assert scenario.label_map(1) == expected


@pytest.mark.parametrize('options, background, rest', [
    (dict(), 0, 0),
    (dict(protocol='mib'), 0, 255),
    (dict(protocol='ssul'), 0, 255),
    (dict(protocol='mib', future='background'), 0, 0),
    (dict(future='ignore'), 0, 255),
    (dict(protocol='mib', background='ignore'), 255, 255),
    (dict(protocol='plop', background='ignore'), 255, 255),
])
@pytest.mark.parametrize('setting', SETTINGS)
def test_label_map_eval(options, background, rest, setting):
    scenario = ClassIncrementalScenario(**CUSTOM, setting=setting, **options)
    # seen: 4, 2, 5; future: 1, 3; never learned: 6
    assert scenario.label_map(
        1, train=False) == {
            0: background,
            1: rest,
            2: 2,
            3: rest,
            4: 1,
            5: 3,
            6: rest
        }


def test_label_map_last_step_agrees_across_protocols():
    maps = [
        ClassIncrementalScenario(20, '15-1', protocol=p).label_map(5, False)
        for p in ('plop', 'mib', 'ssul')
    ]
    assert maps == [{label: label for label in range(21)}] * 3


@pytest.mark.parametrize('setting', SETTINGS)
@pytest.mark.parametrize('t', range(3))
def test_select_train(setting, t):
    presence = random_presence(6)
    steps = [{4, 2}, {5}, {1, 3}]
    new, future = steps[t], set().union(*steps[t + 1:])
    expected = []
    for i, row in enumerate(presence):
        labels = {label for label in range(7) if row[label]}
        if labels & new and (setting == 'overlapped' or not labels & future):
            expected.append(i)
    scenario = ClassIncrementalScenario(**CUSTOM, setting=setting)
    selected = scenario.select(presence, t)
    assert selected.dtype == np.int64
    assert selected.tolist() == expected
    assert 0 < len(expected) < len(presence)


def test_select_by_hand():
    presence = np.zeros((6, 7), dtype=bool)
    presence[0, [0]] = True  # background only: no step
    presence[1, [0, 6]] = True  # never learned only: no step
    presence[2, [0, 4, 6]] = True  # never learned does not exclude
    presence[3, [2, 5]] = True  # future class in step 0
    presence[4, [4, 5, 1]] = True
    presence[5, [0, 3]] = True
    lists = dict(overlapped=[[2, 3, 4], [3, 4], [4, 5]],
                 disjoint=[[2], [3], [4, 5]])  # yapf: disable
    for setting, expected in lists.items():
        scenario = ClassIncrementalScenario(**CUSTOM, setting=setting)
        assert [scenario.select(presence, t).tolist()
                for t in range(3)] == expected


@pytest.mark.parametrize('setting', SETTINGS)
@pytest.mark.parametrize('eval_images', ['seen', 'all'])
def test_select_eval(setting, eval_images):
    presence = random_presence(6)
    scenario = ClassIncrementalScenario(
        **CUSTOM, setting=setting, eval_images=eval_images)
    expected = [
        i for i, row in enumerate(presence)
        if eval_images == 'all' or row[4] or row[2] or row[5]
    ]
    assert scenario.select(presence, 1, train=False).tolist() == expected
    assert len(expected) == 300 or eval_images == 'seen'


def test_select_of_no_images():
    scenario = ClassIncrementalScenario(**CUSTOM)
    assert scenario.select(np.zeros((0, 7), dtype=bool), 0).tolist() == []


@pytest.mark.parametrize('shape', [(4, 6), (4, 8), (4, 256), (7, ), (4, 7, 1)])
def test_select_wrong_shape(shape):
    scenario = ClassIncrementalScenario(**CUSTOM)
    with pytest.raises(
            IncrementalConfigError,
            match=r'presence has shape \(.*wants \(num_images, 7\)'):
        scenario.select(np.zeros(shape, dtype=bool), 0)


def test_names_without_class_names():
    scenario = ClassIncrementalScenario(20, '15-1')
    assert scenario.names((0, 16)) == ('class_0', 'class_16')


@pytest.mark.parametrize('kwargs', [
    dict(num_classes=20, task='15-5s', setting='disjoint', protocol='mib'),
    dict(num_classes=20, task='10-1', class_order=5, eval_images='all'),
    dict(num_classes=150, task='50-50', class_order='ade_b'),
    dict(num_classes=5, task='3-1', class_order=['boat', 1, 2, 3, 4],
         class_names=NAMES, background='ignore'),
    dict(CUSTOM, setting='sequential', future='ignore'),
])  # yapf: disable
def test_to_dict_builds_the_same_scenario(kwargs):
    scenario = ClassIncrementalScenario(**kwargs)
    plain = json.loads(json.dumps(scenario.to_dict()))
    again = ClassIncrementalScenario(**plain)
    assert again.to_dict() == scenario.to_dict() == plain
    assert len(again) == len(scenario)
    for t in range(len(scenario)):
        assert again.seen(t) == scenario.seen(t)
        for train in (True, False):
            assert again.label_map(t, train) == scenario.label_map(t, train)


@pytest.mark.parametrize('kwargs', [
    dict(num_classes=20, task='15-1', setting='disjoint', protocol='mib'),
    dict(num_classes=20, task='10-1', class_order=5, future='ignore'),
    dict(num_classes=3, task='1-1', class_order=[2, 3, 1]),
    dict(CUSTOM, setting='sequential'),
])
def test_joint(kwargs):
    scenario = ClassIncrementalScenario(**kwargs)
    joint = scenario.joint()
    assert len(joint) == 1
    assert joint.new(0) == scenario.seen(len(scenario) - 1)
    assert joint.setting == scenario.setting
    assert joint.conventions == scenario.conventions
    presence = random_presence(scenario.num_classes)
    learned = list(joint.new(0)[1:])
    assert joint.select(presence, 0).tolist() == [
        i for i, row in enumerate(presence) if row[learned].any()
    ]


def test_immutable_but_copyable():
    scenario = ClassIncrementalScenario(**CUSTOM)
    with pytest.raises(AttributeError, match='cannot be changed'):
        scenario.setting = 'disjoint'
    with pytest.raises(AttributeError, match='cannot be changed'):
        scenario.extra = 1
    for twin in (copy.deepcopy(scenario),
                 pickle.loads(pickle.dumps(scenario))):
        assert twin.to_dict() == scenario.to_dict()
        assert twin.seen(2) == scenario.seen(2)
    # neither a list that went in nor one that came out reaches inside
    steps = [[4, 2], [5]]
    scenario = ClassIncrementalScenario(6, steps)
    steps[1].append(1)
    scenario.to_dict()['task'][1].append(1)
    scenario.conventions['future'] = 'ignore'
    assert scenario.new(1) == (5, )
    assert scenario.conventions['future'] == 'background'


def test_repr():
    text = repr(ClassIncrementalScenario(20, '15-1', setting='disjoint'))
    assert "task='15-1', setting='disjoint'" in text
    assert '[16, 1, 1, 1, 1, 1]' in text
    assert "future='background'" in text
    assert "task='custom'" in repr(ClassIncrementalScenario(**CUSTOM))


@pytest.mark.parametrize('t', [-1, 3, 1.0, '0', None, True])
@pytest.mark.parametrize('method', ['new', 'old', 'seen', 'future', 'num_old',
                                    'label_map'])  # yapf: disable
def test_step_out_of_range(method, t):
    scenario = ClassIncrementalScenario(**CUSTOM)
    with pytest.raises(
            IncrementalConfigError,
            match=f'step {t!r} does not exist: .* steps 0 to 2'):
        getattr(scenario, method)(t)
