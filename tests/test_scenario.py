import copy
import json
import pickle

import numpy as np
import pytest

from mmseg_incremental.class_orders import PUBLISHED_ORDERS
from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario import ClassIncrementalScenario

NAMES = ('background', 'cat', 'dog', 'horse', 'bird', 'boat')
# 6 is never learned; background and 5 classes are
CUSTOM = dict(num_classes=6, task=[[4, 2], [5], [1, 3]])
SETTINGS = ('overlapped', 'disjoint', 'sequential')


def random_presence(num_classes, num_images=300):
    rng = np.random.RandomState(0)
    return rng.rand(num_images, num_classes + 1) < 0.2


@pytest.mark.parametrize('num_classes, task, sizes', [
    (20, '19-1', [19, 1]),
    (20, '15-5', [15, 5]),
    (20, '15-1', [15, 1, 1, 1, 1, 1]),
    (20, '15-5s', [15, 1, 1, 1, 1, 1]),
    (20, '10-5', [10, 5, 5]),
    (20, '2-2', [2] * 10),
    (20, '1-1', [1] * 20),
    (20, 'offline', [20]),
    (150, '100-10', [100] + [10] * 5),
    (150, '50-50', [50, 50, 50]),
    (19, '13-6', [13, 6]),
])
def test_named_tasks(num_classes, task, sizes):
    scenario = ClassIncrementalScenario(num_classes, task)
    assert len(scenario) == len(sizes)
    labels = iter(range(1, num_classes + 1))
    for t, size in enumerate(sizes):
        new = tuple(next(labels) for _ in range(size))
        assert scenario.new(t) == (new if t else (0, ) + new)
    assert scenario.seen(len(sizes) - 1) == tuple(range(num_classes + 1))


def test_old_new_seen_future():
    scenario = ClassIncrementalScenario(**CUSTOM)
    assert [scenario.new(t) for t in range(3)] == [(0, 4, 2), (5, ), (1, 3)]
    assert [scenario.old(t) for t in range(3)] == [(), (0, 4, 2), (0, 4, 2, 5)]
    assert [scenario.num_old(t) for t in range(3)] == [0, 3, 4]
    assert scenario.seen(1) == (0, 4, 2, 5)
    assert scenario.seen(2) == (0, 4, 2, 5, 1, 3)
    assert [scenario.future(t) for t in range(3)] == [(5, 1, 3), (1, 3), ()]


@pytest.mark.parametrize('task', [
    [['bird', 'dog'], ['boat'], ['cat', 'horse']],
    (('bird', 2), (5, ), (np.int64(1), 'horse')),
    [np.array([4, 2]), [5], (1, 3)],
])
def test_steps_by_name_or_label(task):
    scenario = ClassIncrementalScenario(5, task, class_names=NAMES)
    assert scenario.seen(2) == (0, 4, 2, 5, 1, 3)
    assert scenario.names(scenario.new(0)) == ('background', 'bird', 'dog')
    assert json.loads(json.dumps(scenario.to_dict()))['task'] == [[4, 2], [5],
                                                                  [1, 3]]


@pytest.mark.parametrize('order', [[3, 1, 2, 5, 4], [0, 3, 1, 2, 5, 4],
                                   ['horse', 'cat', 'dog', 'boat', 'bird']])
def test_class_order(order):
    scenario = ClassIncrementalScenario(
        5, '3-1', class_order=order, class_names=NAMES)
    assert [scenario.new(t) for t in range(3)] == [(0, 3, 1, 2), (5, ), (4, )]
    assert scenario.label_map(1) == {0: 0, 1: 0, 2: 0, 3: 0, 4: 0, 5: 4}
    assert scenario.label_map(
        1, train=False) == {
            0: 0,
            1: 2,
            2: 3,
            3: 1,
            4: 0,
            5: 4
        }


def test_class_order_published_and_seed():
    scenario = ClassIncrementalScenario(150, '100-10', class_order='ade_c')
    assert scenario.new(5) == PUBLISHED_ORDERS['ade_c'][140:]
    assert scenario.to_dict()['class_order'] == 'ade_c'
    seeded = ClassIncrementalScenario(20, '15-1', class_order=np.int64(3))
    expected = np.random.RandomState(3).permutation(20) + 1
    assert seeded.seen(5)[1:] == tuple(expected)
    assert json.loads(json.dumps(seeded.to_dict()))['class_order'] == 3


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


def test_conventions():
    defaults = ClassIncrementalScenario(20, '15-1').conventions
    assert defaults == dict(
        protocol='plop',
        future='background',
        void='ignore',
        eval_images='seen',
        background='evaluate')
    given = ClassIncrementalScenario(
        20, '15-1', protocol='mib', void='ignore', eval_images='all')
    assert given.conventions == dict(
        protocol='mib',
        future='ignore',
        void='ignore',
        eval_images='all',
        background='evaluate')


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


@pytest.mark.parametrize('kwargs, message', [
    (dict(task='15-4'), "'15-4' leaves 5 of 20 .* increment of 1, 5,"),
    (dict(task='15-0'), "'15-0' leaves 5 of 20"),
    (dict(task='20-1'), "'20-1' starts with 20 of 20 .* 1 to 19"),
    (dict(task='25-1'), "'25-1' starts with 25"),
    (dict(task='0-1'), "'0-1' starts with 0"),
    (dict(task='19-1b'), "'19-1b' is no task.*did you mean '19-1'"),
    (dict(task='10-5-5'), "'10-5-5' is no task.*did you mean '10-5'"),
    (dict(task='ofline'), "'ofline' is no task.*did you mean 'offline'"),
    (dict(task='-5'), "'-5' is no task"),
    (dict(task=''), "'' is no task"),
    (dict(task=None), 'None is neither a name nor a list of steps'),
    (dict(task=15), '15 is neither'),
    (dict(task=[1, 2]), 'is neither'),
    (dict(task=['cat', 'dog']), 'is neither'),
    (dict(task=[{1, 2}]), 'is neither'),
    (dict(task=[]), r'\[\] has no step'),
    (dict(task=[[1], []]), 'a step without classes'),
    (dict(task=[[1, 2], [2]]), 'holds 2 twice'),
    (dict(task=[[1], [21]]), 'holds 21, .* from 1 to 20'),
    (dict(task=[[0, 1], [2]]), r'lists the background \(0\)'),
    (dict(task=[[1], ['cat']]), "holds 'cat'.*class_names, which is not set"),
    (dict(task=[[1], [2]], class_order=3), 'class_order=3 cannot be used'),
    (dict(class_order=[1, 2]), 'lists 2 of the 20'),
    (dict(class_order='ade_b'), 'num_classes is 20'),
    (dict(setting='overlap'), "'overlap' is unknown.*mean 'overlapped'"),
    (dict(setting=None), "setting=None is unknown: use one of 'overlapped'"),
    (dict(protocol='plob'), "protocol='plob' is unknown.*mean 'plop'"),
    (dict(protocol=['mib']), r"protocol=\['mib'\] is unknown"),
    (dict(future='ignored'), "future='ignored' .*did you mean 'ignore'"),
    (dict(void=255), "void=255 is unknown: use one of 'ignore'"),
    (dict(eval_images='every'), "eval_images='every' is unknown"),
    (dict(background=None), 'background=None is unknown'),
    (dict(num_classes=0), 'num_classes=0 .* 1 to 254'),
    (dict(num_classes=255), 'num_classes=255'),
    (dict(num_classes='20'), "num_classes='20'"),
    (dict(class_names=['a', 'b']), 'has 2 names, .* wants 21'),
    (dict(class_names='voc'), "is 'voc', .* wants 21"),
    (dict(class_names=['x'] * 21), "holds 'x', .* not unique"),
    (dict(class_names=list(range(21))), 'holds 0, which is no string'),
])
def test_errors(kwargs, message):
    with pytest.raises(IncrementalConfigError, match=message) as error:
        ClassIncrementalScenario(
            **dict(dict(num_classes=20, task='15-1'), **kwargs))
    assert '\n' not in str(error.value) and str(error.value).endswith('.')


def test_unknown_name_suggests_a_class():
    with pytest.raises(
            IncrementalConfigError, match=r"'hrse'.*did you mean 'horse'\?"):
        ClassIncrementalScenario(5, [['cat'], ['hrse']], class_names=NAMES)
