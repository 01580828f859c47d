import pickle

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from mmseg_incremental.engine.checkpoints import (check_fit,
                                                  checkpoint_classes,
                                                  read_checkpoint, read_meta)
from mmseg_incremental.errors import IncrementalConfigError

WEIGHTS = dict(a=torch.ones(2))


def test_meta(tmp_path):
    path = str(tmp_path / 'a.pth')
    assert read_meta(path) == {}
    torch.save(dict(state_dict=WEIGHTS), path)
    assert read_meta(path) == {}
    torch.save(dict(state_dict=WEIGHTS, meta=dict(step=1)), path)
    assert read_meta(path) == dict(step=1)


@pytest.mark.parametrize('content, meta', [
    (WEIGHTS, {}),
    (dict(state_dict=WEIGHTS), {}),
    (dict(state_dict=WEIGHTS, meta=dict(x=1), optimizer={}), dict(x=1)),
    (dict(state_dict={'module.a': WEIGHTS['a']}), {}),
])
def test_forms_of_checkpoints(tmp_path, content, meta):
    path = str(tmp_path / 'a.pth')
    torch.save(content, path)
    checkpoint = read_checkpoint('--option', path)
    assert checkpoint['meta'] == meta
    assert list(checkpoint['state_dict']) == ['a']
    assert torch.equal(checkpoint['state_dict']['a'], WEIGHTS['a'])


@pytest.mark.parametrize('content', [b'no checkpoint', b'', pickle.dumps(1)])
def test_other_files(tmp_path, content):
    path = tmp_path / 'a.pth'
    path.write_bytes(content)
    with pytest.raises(
            IncrementalConfigError,
            match='--option .*a.pth cannot be read as a checkpoint'):
        read_checkpoint('--option', str(path))


@pytest.mark.parametrize('content', [{}, dict(state_dict={}), dict(a=1), [1]])
def test_no_weights(tmp_path, content):
    path = str(tmp_path / 'a.pth')
    torch.save(content, path)
    with pytest.raises(IncrementalConfigError, match='holds no weights'):
        read_checkpoint('--option', path)


def test_file_missing():
    with pytest.raises(
            IncrementalConfigError, match='--option a.pth does not exist'):
        read_checkpoint('--option', 'a.pth')


@pytest.mark.parametrize('meta, names', [
    ({}, None),
    (dict(dataset_meta=None), None),
    (dict(dataset_meta=dict(classes=('a', 'b'))), ['a', 'b']),
    (dict(dataset_meta=dict(CLASSES=['a', 'b'])), ['a', 'b']),
])
def test_classes(meta, names):
    assert checkpoint_classes(dict(meta=meta)) == names


def test_fit():
    init_default_scope('mmseg')
    cfg = ConfigDict(
        type='IncrementalEncoderDecoder',
        backbone=dict(
            type='ResNet', depth=18, base_channels=4, stem_channels=4),
        decode_head=dict(
            type='FCNHead',
            in_channels=32,
            in_index=3,
            channels=4,
            num_classes=3))
    random = torch.get_rng_state()
    state_dict = MODELS.build(cfg).state_dict()
    torch.set_rng_state(random)
    check_fit(cfg, state_dict, 'it')
    assert torch.equal(torch.get_rng_state(), random)

    weight = 'decode_head.conv_seg.weight'
    fewer = dict(state_dict)
    fewer.pop(weight)
    with pytest.raises(
            IncrementalConfigError,
            match=f'it does not fit .* config: {weight} is missing; give'):
        check_fit(cfg, fewer, 'it')
    # Growth, which loading would allow, is no fit.
    fewer[weight] = state_dict[weight][:2]
    fewer['other'] = state_dict[weight]
    with pytest.raises(
            IncrementalConfigError,
            match='other is foreign, and 1 others do not fit either'):
        check_fit(cfg, fewer, 'it')
    del fewer['other']
    with pytest.raises(
            IncrementalConfigError,
            match=r'has the shape \(2, 4, 1, 1\) in place of \(3, 4, 1, 1\)'):
        check_fit(cfg, fewer, 'it')
