import pytest

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario import ClassIncrementalScenario


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


@pytest.mark.parametrize('kwargs, message', [
    (dict(setting='overlap'), "'overlap' is unknown.*mean 'overlapped'"),
    (dict(setting=None), "setting=None is unknown: use one of 'overlapped'"),
    (dict(protocol='plob'), "protocol='plob' is unknown.*mean 'plop'"),
    (dict(protocol=['mib']), r"protocol=\['mib'\] is unknown"),
    (dict(future='ignored'), "future='ignored' .*did you mean 'ignore'"),
    (dict(void=255), "void=255 is unknown: use one of 'ignore'"),
    (dict(eval_images='every'), "eval_images='every' is unknown"),
    (dict(background=None), 'background=None is unknown'),
])
def test_protocol_errors(kwargs, message):
    with pytest.raises(IncrementalConfigError, match=message) as error:
        ClassIncrementalScenario(
            **dict(dict(num_classes=20, task='15-1'), **kwargs))
    assert '\n' not in str(error.value) and str(error.value).endswith('.')
