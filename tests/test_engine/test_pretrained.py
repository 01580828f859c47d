import pytest
import torch
from mmengine.config import Config

from mmseg_incremental.engine import pretrained
from mmseg_incremental.engine.pretrained import resolve_pretrained
from mmseg_incremental.errors import IncrementalConfigError

URL = 'https://example.org/weights.pth'


def config(checkpoint, **model):
    return Config(
        dict(
            model=dict(
                model,
                backbone=dict(
                    init_cfg=dict(type='Pretrained', checkpoint=checkpoint)))))


@pytest.fixture
def fetched(monkeypatch):
    """Addresses that were fetched; example.org is the only one that is."""
    addresses = []

    def load_checkpoint(source, map_location):
        addresses.append(source)
        if 'example.org' not in source:
            raise OSError('no route')

    monkeypatch.setattr(pretrained.CheckpointLoader, 'load_checkpoint',
                        load_checkpoint)
    return addresses


def test_file(tmp_path, fetched):
    path = str(tmp_path / 'a.pth')
    torch.save({}, path)
    cfg = config(path)
    assert resolve_pretrained(cfg) is None
    assert cfg.model.backbone.init_cfg.checkpoint == path
    assert not fetched


@pytest.mark.parametrize('model', [
    config('none.pth').model,
    dict(pretrained='none.pth'),
    dict(backbone=dict(pretrained='none.pth')),
    dict(backbones=[dict(pretrained='none.pth')])
])
def test_file_missing(model, fetched):
    with pytest.raises(
            IncrementalConfigError, match="pretrained='none.pth' does not"):
        resolve_pretrained(Config(dict(model=model)))


def test_none_means_random_weights(fetched):
    cfg = config(None)
    assert resolve_pretrained(cfg) is None
    assert cfg.model.backbone.init_cfg is None


def test_address(fetched):
    cfg = config(URL)
    assert resolve_pretrained(cfg) is None
    assert fetched == [URL]
    assert cfg.model.backbone.init_cfg.checkpoint == URL


@pytest.mark.parametrize('source', [
    'open-mmlab://resnet50_v1c', 'torchvision://resnet50',
    'https://example.com/a.pth'
])
def test_address_that_cannot_be_fetched(source, fetched, capsys):
    cfg = config(source, pretrained=URL)
    left_out = resolve_pretrained(cfg)
    assert left_out == f'{source} left out: OSError: no route'
    assert cfg.model.backbone.init_cfg is None
    assert cfg.model.pretrained == URL
    assert f'{source} cannot be fetched' in capsys.readouterr().out


def test_other_initialisations_stay(fetched):
    init = dict(type='Normal', layer='Conv2d', std=0.1)
    cfg = Config(
        dict(model=dict(head=dict(init_cfg=init), neck=dict(init_cfg=[init]))))
    before = cfg.model.to_dict()
    assert resolve_pretrained(cfg) is None
    assert cfg.model.to_dict() == before
    assert not fetched
