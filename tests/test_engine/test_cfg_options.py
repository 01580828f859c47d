import pytest
from mmengine.config import Config

from mmseg_incremental.engine import load_config
from mmseg_incremental.engine.cfg_options import use_amp
from mmseg_incremental.errors import IncrementalConfigError

SHAPES = 'mmseg_incremental::incremental/shapes_10-1.py'
VOC = 'mmseg_incremental::incremental/voc_15-5.py'


def test_data_root_reaches_every_dataset():
    cfg = load_config(SHAPES, cfg_options=dict(data_root='/else'))
    roots = [
        cfg[f'{split}_dataloader'].dataset.dataset.data_root
        for split in ('train', 'val', 'test')
    ]
    assert roots == ['/else'] * 3
    assert cfg.source.data_root == '/else'


def test_data_root_leaves_what_the_user_set_beside_it():
    cfg = load_config(
        VOC,
        cfg_options={
            'data_root': '/new',
            'val_dataloader.dataset.data_root': '/mine'
        })
    assert cfg.train_dataloader.dataset.data_root == '/new'
    assert cfg.val_dataloader.dataset.data_root == '/mine'


@pytest.mark.parametrize('value', ['weights.pth', None])
def test_pretrained_reaches_the_backbone(value):
    cfg = load_config(VOC, cfg_options=dict(pretrained=value))
    assert cfg.model.backbone.init_cfg.checkpoint == value
    # Nothing else had that value.
    assert cfg.model.decode_head == load_config(VOC).model.decode_head


def test_pretrained_that_nothing_follows(tmp_path):
    path = tmp_path / 'c.py'
    path.write_text(f"_base_ = '{VOC}'\npretrained = None\n")
    with pytest.raises(IncrementalConfigError, match='has no effect'):
        load_config(str(path), cfg_options=dict(pretrained='a.pth'))


@pytest.mark.parametrize('option, hint', [
    ('scenaro.task', "did you mean 'scenario'"),
    ('data_rot', "did you mean 'data_root'"),
    ('xyz', 'which the config does not have; change'),
    ('pretrained', "'pretrained', which the config does not have"),
])
def test_options_that_the_config_does_not_have(option, hint):
    with pytest.raises(IncrementalConfigError, match=hint) as info:
        load_config(SHAPES, cfg_options={option: 'value'})
    assert f"{option}='value'" in str(info.value)


@pytest.mark.parametrize('option, value', [
    ('model.decode_head.new_key', 1),
    ('holdout.fraction', 0.2),
    ('num_panel_images', 0),
    ('find_unused_parameters', True),
    ('auto_scale_lr', dict(base_batch_size=16)),
])
def test_options_that_a_config_may_take(option, value):
    cfg = load_config(SHAPES, cfg_options={option: value})
    for key in option.split('.'):
        cfg = cfg[key]
    assert cfg == value


@pytest.mark.parametrize('options', [{
    'param_scheduler.7.end': 5
}, {
    'default_scope.x': 1
}])
def test_options_that_do_not_fit(options):
    with pytest.raises(IncrementalConfigError, match='do not fit the config'):
        load_config(SHAPES, cfg_options=options)


def test_amp_needs_an_accelerator(monkeypatch):
    monkeypatch.setattr('mmengine.device.is_cuda_available', lambda: False)
    monkeypatch.setattr('mmengine.device.is_npu_available', lambda: False)
    with pytest.raises(IncrementalConfigError, match='--amp needs a GPU'):
        load_config(SHAPES, amp=True)


@pytest.mark.parametrize('wrapper', [None, 'OptimWrapper', 'AmpOptimWrapper'])
def test_amp(monkeypatch, wrapper):
    monkeypatch.setattr('mmengine.device.is_cuda_available', lambda: True)
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(lr=1))))
    if wrapper is not None:
        cfg.optim_wrapper.type = wrapper
    use_amp(cfg)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    loss_scale = None if wrapper == 'AmpOptimWrapper' else 'dynamic'
    assert cfg.optim_wrapper.get('loss_scale') == loss_scale


def test_amp_at_later_steps(monkeypatch):
    monkeypatch.setattr('mmengine.device.is_cuda_available', lambda: True)
    later = dict(type='OptimWrapper', clip_grad=dict(max_norm=1))
    cfg = Config(
        dict(
            optim_wrapper=dict(optimizer=dict(lr=1)),
            incremental_step=dict(optim_wrapper=later)))
    use_amp(cfg)
    assert cfg.incremental_step.optim_wrapper == dict(
        clip_grad=dict(max_norm=1))


def test_amp_of_another_wrapper(monkeypatch):
    monkeypatch.setattr('mmengine.device.is_cuda_available', lambda: True)
    with pytest.raises(IncrementalConfigError, match="type='ApexOptim"):
        load_config(
            SHAPES,
            cfg_options={'optim_wrapper.type': 'ApexOptimWrapper'},
            amp=True)


def test_method_cannot_be_renamed():
    with pytest.raises(IncrementalConfigError, match='--method'):
        load_config(SHAPES, cfg_options={'method.name': 'lwf'})
