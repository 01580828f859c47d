from pathlib import Path
from typing import Callable

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from mmseg_incremental.engine import (build_scenario, build_step_cfg,
                                      load_method)
from mmseg_incremental.engine.base_checkpoint import (adopt_base_checkpoint,
                                                      prepare_base_checkpoint)
from mmseg_incremental.errors import IncrementalConfigError


@pytest.fixture
def cfg(tiny_cfg: Callable, tmp_path: Path) -> Config:
    return tiny_cfg(tmp_path / 'work', **{'scenario.task': '3-1'})


@pytest.fixture
def names(cfg: Config) -> list:
    scenario = build_scenario(cfg)
    return list(scenario.names(scenario.seen(0)))


@pytest.fixture
def state_dict(cfg: Config) -> dict:
    return MODELS.build(build_step_cfg(cfg, 0).model).state_dict()


def save(path: Path, state_dict: dict, **dataset_meta) -> str:
    """Save what MMSegmentation would."""
    meta = dict(dataset_meta=dataset_meta, iter=7) if dataset_meta else {}
    torch.save(dict(meta=meta, state_dict=state_dict), path)
    return str(path)


@pytest.mark.parametrize('keys', [('classes', 'palette'),
                                  ('CLASSES', 'PALETTE')])
def test_rows_and_colours_in_the_order_of_the_scenario(cfg, names, state_dict,
                                                       tmp_path, keys):
    order = [2, 0, 3, 1]
    permuted = dict(state_dict)
    for name in ('weight', 'bias'):
        key = f'decode_head.conv_seg.{name}'
        permuted[key] = state_dict[key][order]
    path = save(
        tmp_path / 'a.pth', permuted, **{
            keys[0]: [names[i] for i in order],
            keys[1]: [[i, i, i] for i in order]
        })
    checkpoint = prepare_base_checkpoint(cfg, path)
    assert not Path(cfg.work_dir).exists()
    assert list(checkpoint['state_dict']) == list(state_dict)
    for key, value in state_dict.items():
        assert torch.equal(checkpoint['state_dict'][key], value)
    meta = checkpoint['meta']
    assert list(meta['dataset_meta']['classes']) == names
    assert meta['dataset_meta']['palette'] == [[i, i, i] for i in range(4)]
    assert meta['iter'] == 7
    assert meta['incremental']['step'] == 0
    assert 'train_seconds' not in meta['incremental']


def test_adopted(cfg, names, state_dict, tmp_path):
    path = save(tmp_path / 'a.pth', state_dict, classes=names)
    before = Path(path).read_bytes()
    adopt_base_checkpoint(cfg, prepare_base_checkpoint(cfg, path), path)
    assert Path(path).read_bytes() == before
    step_dir = Path(cfg.work_dir) / 'step_0'
    assert sorted(p.name
                  for p in step_dir.iterdir()) == ['deploy.py', 'final.pth']
    checkpoint = torch.load(step_dir / 'final.pth', weights_only=True)
    assert list(checkpoint['meta']['dataset_meta']['classes']) == names
    scenario = checkpoint['meta']['incremental']['scenario']
    assert scenario == build_scenario(cfg).to_dict()


def test_importance_beside_it_is_adopted(cfg, names, state_dict, tmp_path):
    path = save(tmp_path / 'a.pth', state_dict, classes=names)
    (tmp_path / 'importance.pth').write_bytes(b'importance')
    adopt_base_checkpoint(cfg, prepare_base_checkpoint(cfg, path), path)
    for folder in (tmp_path, Path(cfg.work_dir) / 'step_0'):
        assert (folder / 'importance.pth').read_bytes() == b'importance'


def test_importance_in_another_order(cfg, names, state_dict, tmp_path):
    path = save(tmp_path / 'a.pth', state_dict, classes=names[::-1])
    (tmp_path / 'importance.pth').write_bytes(b'importance')
    checkpoint = prepare_base_checkpoint(cfg, path)
    adopt_base_checkpoint(cfg, checkpoint, path)
    assert not (Path(cfg.work_dir) / 'step_0' / 'importance.pth').exists()
    cfg.method = load_method('ewc')
    with pytest.raises(IncrementalConfigError, match='in another order'):
        prepare_base_checkpoint(cfg, path)


def test_final_checkpoint_of_another_run(cfg, names, state_dict, tmp_path):
    """What training took stays known."""
    meta = dict(
        dataset_meta=dict(classes=names),
        incremental=dict(
            step=0,
            method='x',
            num_train_images=24,
            train_seconds=1.5,
            peak_memory_mb=9.0,
            device='GPU',
            pretrained_left_out='some/address'))
    torch.save(dict(meta=meta, state_dict=state_dict), str(tmp_path / 'a.pth'))
    checkpoint = prepare_base_checkpoint(cfg, str(tmp_path / 'a.pth'))
    info = checkpoint['meta']['incremental']
    assert (info['num_train_images'], info['train_seconds'],
            info['peak_memory_mb'], info['device']) == (24, 1.5, 9.0, 'GPU')
    assert info['pretrained_left_out'] == 'some/address'
    assert (info['method'], info['base_method']) == ('mib', 'x')


@pytest.mark.parametrize(
    'trained, refused',
    [
        (dict(fraction=0.2, seed=0), False),
        # A run without one has seen all images.
        (None, True),
        (dict(fraction=0.2, seed=1), True),
        (dict(fraction=0.5), True),
    ])
def test_what_the_base_has_seen_is_not_held_out(cfg, names, state_dict,
                                                tmp_path, trained, refused):
    meta = dict(
        dataset_meta=dict(classes=names),
        incremental=dict(step=0, holdout=trained))
    path = str(tmp_path / 'a.pth')
    torch.save(dict(meta=meta, state_dict=state_dict), path)
    # Without a holdout of its own a run takes any base.
    checkpoint = prepare_base_checkpoint(cfg, path)
    assert checkpoint['meta']['incremental']['holdout'] == trained
    cfg.holdout = dict(seed=0)
    if not refused:
        prepare_base_checkpoint(cfg, path)
        return
    with pytest.raises(IncrementalConfigError, match='so it has seen images'):
        prepare_base_checkpoint(cfg, path)


def test_base_that_does_not_say_what_it_has_seen(cfg, names, state_dict,
                                                 tmp_path, capsys):
    path = save(tmp_path / 'a.pth', state_dict, classes=names)
    cfg.holdout = dict(seed=0)
    info = prepare_base_checkpoint(cfg, path)['meta']['incremental']
    assert 'holdout' not in info
    assert 'may have seen the held-out images' in capsys.readouterr().out


@pytest.mark.parametrize('method, trained_by, is_told', [
    ('lwf_mc', 'mib', True),
    ('lwf_mc', None, True),
    ('lwf_mc', 'lwf_mc', False),
    ('lwf', 'mib', False),
])
def test_base_without_the_loss_of_the_method(cfg, names, state_dict, tmp_path,
                                             capsys, method, trained_by,
                                             is_told):
    meta = dict(dataset_meta=dict(classes=names))
    if trained_by:
        meta['incremental'] = dict(method=trained_by)
    path = str(tmp_path / 'a.pth')
    torch.save(dict(meta=meta, state_dict=state_dict), path)
    cfg.method = load_method(method)
    prepare_base_checkpoint(cfg, path)
    told = 'has SigmoidCrossEntropyLoss at step 0' in capsys.readouterr().out
    assert told == is_told


def test_weights_alone_are_taken_as_they_are(cfg, names, state_dict, tmp_path,
                                             capsys):
    torch.save(state_dict, tmp_path / 'a.pth')
    checkpoint = prepare_base_checkpoint(cfg, str(tmp_path / 'a.pth'))
    assert list(checkpoint['meta']['dataset_meta']['classes']) == names
    assert 'names no classes' in capsys.readouterr().out


def test_other_classes(cfg, names, state_dict, tmp_path):
    path = save(
        tmp_path / 'a.pth', state_dict, classes=[*names[:3], 'unicorn'])
    with pytest.raises(
            IncrementalConfigError,
            match=rf"a.pth has other .* lacks \['{names[3]}'\] and has "
            r"\['unicorn'\]"):
        prepare_base_checkpoint(cfg, path)


@pytest.mark.parametrize('change', ['fewer rows', 'other backbone'])
def test_other_architecture(cfg, state_dict, tmp_path, change):
    if change == 'fewer rows':
        key = 'decode_head.conv_seg.weight'
        state_dict[key] = state_dict[key][:2]
    else:
        key = 'backbone.layer4.1.conv2.weight'
        state_dict.pop(key)
    with pytest.raises(
            IncrementalConfigError,
            match=f'--base-checkpoint .* does not fit the model.*{key}'):
        prepare_base_checkpoint(cfg, save(tmp_path / 'a.pth', state_dict))


def test_file_missing(cfg):
    with pytest.raises(
            IncrementalConfigError, match='--base-checkpoint no.pth does not'):
        prepare_base_checkpoint(cfg, 'no.pth')
