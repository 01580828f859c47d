import pytest

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario import ClassIncrementalScenario
from mmseg_incremental.scenario.labels import to_labels


@pytest.mark.parametrize('kwargs, message', [
    (dict(num_classes=0), 'num_classes=0 .* 1 to 254'),
    (dict(num_classes=255), 'num_classes=255'),
    (dict(num_classes='20'), "num_classes='20'"),
    (dict(class_names=['a', 'b']), 'has 2 names, .* wants 21'),
    (dict(class_names='voc'), "is 'voc', .* wants 21"),
    (dict(class_names=['x'] * 21), "holds 'x', .* not unique"),
    (dict(class_names=list(range(21))), 'holds 0, which is no string'),
])
def test_class_errors(kwargs, message):
    with pytest.raises(IncrementalConfigError, match=message) as error:
        ClassIncrementalScenario(
            **dict(dict(num_classes=20, task='15-1'), **kwargs))
    assert '\n' not in str(error.value) and str(error.value).endswith('.')


def test_labels_of_names_without_class_names():
    with pytest.raises(
            IncrementalConfigError,
            match=r"scenario.task holds 'cat'.*class_names, which is not set"):
        to_labels('scenario.task', ['cat'], 3, None)
