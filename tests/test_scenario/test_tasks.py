import json

import numpy as np
import pytest

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario import (PUBLISHED_ORDERS,
                                        ClassIncrementalScenario)

NAMES = ('background', 'cat', 'dog', 'horse', 'bird', 'boat')


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
])
def test_task_errors(kwargs, message):
    with pytest.raises(IncrementalConfigError, match=message) as error:
        ClassIncrementalScenario(
            **dict(dict(num_classes=20, task='15-1'), **kwargs))
    assert '\n' not in str(error.value) and str(error.value).endswith('.')


def test_unknown_name_suggests_a_class():
    with pytest.raises(
            IncrementalConfigError, match=r"'hrse'.*did you mean 'horse'\?"):
        ClassIncrementalScenario(5, [['cat'], ['hrse']], class_names=NAMES)
