import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmseg_incremental.engine.regularizers import (build_regularizers,
                                                   check_importance,
                                                   importance_beside,
                                                   read_importance)
from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models import BaseWeightRegularizer

EWC, PI = 'ElasticWeightConsolidation', 'PathIntegral'
SETTINGS = {
    EWC: dict(settings=dict(alpha=0.9)),
    PI: dict(settings=dict(mode='official', damping=1e-20))
}


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmseg')


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'importance.pth')


def build(*types, **kwargs):
    return build_regularizers(
        [ConfigDict(type=name, **kwargs) for name in types])


def test_methods_without_regularizers(tmp_path):
    assert build_regularizers(None) == {} == build_regularizers([])
    check_importance(ConfigDict(), str(tmp_path / 'base.pth'))
    check_importance(ConfigDict(method=dict()), str(tmp_path / 'base.pth'))


def test_base_checkpoint_brings_what_is_needed(tmp_path, path):
    base = str(tmp_path / 'base.pth')
    assert importance_beside(base) == path
    cfg = ConfigDict(method=dict(weight_regularizers=[dict(type=EWC)]))
    with pytest.raises(
            IncrementalConfigError,
            match='importance.pth does not exist, so that Elastic'):
        check_importance(cfg, base)
    torch.save({EWC: SETTINGS[EWC]}, path)
    check_importance(cfg, base)


def test_what_is_held_is_returned(path):
    torch.save(SETTINGS, path)
    assert read_importance(path, build(EWC, PI)) == SETTINGS


@pytest.mark.parametrize('held, message', [
    ({}, f'of nothing, but not of {EWC}, {PI}; train the step before'),
    ({
        PI: SETTINGS[PI]
    }, f'the importance of {PI}, but not of {EWC}; train'),
    (dict(SETTINGS, **{EWC: dict(settings=dict(alpha=0.5))}),
     f'importance of {EWC} for alpha=0.5, not 0.9; set alpha as it was, or '),
    (dict(SETTINGS, **{PI: dict()}),
     f'with which mode, damping the importance of {PI} was'),
    ([1], 'importance.pth is no file of importances; put back'),
    ({
        EWC: 1
    }, 'importance.pth is no file of importances'),
])
def test_files_that_do_not_do(path, held, message):
    torch.save(held, path)
    with pytest.raises(IncrementalConfigError) as error:
        read_importance(path, build(EWC, PI))
    assert message in str(error.value)


def test_regularizer_without_arguments(path):

    @MODELS.register_module()
    class Every(BaseWeightRegularizer):
        observe = importance = None

    try:
        torch.save(dict(Every=dict()), path)
        regularizers = build('Every', loss_weight=1.0)
        assert read_importance(path, regularizers) == dict(Every={})
    finally:
        MODELS.module_dict.pop('Every')


def test_unreadable_file(path):
    open(path, 'w').close()
    with pytest.raises(
            IncrementalConfigError, match='importance.pth cannot be read'):
        read_importance(path, build(EWC))


def test_weight_0_needs_nothing(path):
    idle = build(EWC, loss_weight=0.0)
    assert read_importance(path, idle) == {}
    torch.save({PI: SETTINGS[PI]}, path)
    assert read_importance(path, idle) == {PI: SETTINGS[PI]}
    # It would go on gathering in another way.
    torch.save({EWC: dict(settings=dict(alpha=0.5))}, path)
    with pytest.raises(IncrementalConfigError, match='alpha=0.5, not 0.9'):
        read_importance(path, idle)
