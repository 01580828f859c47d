import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope

from mmseg_incremental.engine.regularizers import (build_regularizers,
                                                   check_base_importance,
                                                   importance_beside,
                                                   read_importance)
from mmseg_incremental.errors import IncrementalConfigError

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
    check_base_importance(ConfigDict(), str(tmp_path / 'base.pth'))
    check_base_importance(ConfigDict(method=dict()), None)


def test_base_checkpoint_brings_what_is_needed(tmp_path, path):
    base = str(tmp_path / 'base.pth')
    assert importance_beside(base) == path
    cfg = ConfigDict(method=dict(weight_regularizers=[dict(type=EWC)]))
    check_base_importance(cfg, None)
    with pytest.raises(
            IncrementalConfigError,
            match='importance.pth does not exist, so that Elastic'):
        check_base_importance(cfg, base)
    torch.save({EWC: SETTINGS[EWC]}, path)
    check_base_importance(cfg, base)


def test_what_is_held_is_returned(path):
    torch.save(SETTINGS, path)
    assert read_importance(path, build(EWC, PI)) == SETTINGS


@pytest.mark.parametrize('held, message', [
    ({}, f'of nothing, but not of {EWC}, {PI}; train the step before'),
    ({
        PI: SETTINGS[PI]
    }, f'the importance of {PI}, but not of {EWC}; train'),
    (dict(SETTINGS, **{EWC: dict(settings=dict(alpha=0.5))}),
     f"{EWC} for {{'alpha': 0.5}}, not {{'alpha': 0.9}}; set these"),
    (dict(SETTINGS, **{PI: dict()}), f'{PI} for None, not'),
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
    # Nothing is scaled by what it was gathered with.
    torch.save({EWC: dict(settings=dict(alpha=0.5))}, path)
    read_importance(path, idle)
