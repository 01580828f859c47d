import ast
from pathlib import Path

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_incremental.engine import build_step_cfg, load_config
from mmseg_incremental.engine.pretrained import resolve_pretrained

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'incremental'
PLAIN = 'voc_15-5'
# Name, backbone, decode head, names of its heads in the log, schedule.
BACKBONES = {
    'deeplabv3plus_r50':
    ('ResNetV1c', 'DepthwiseSeparableASPPHead', ['decode'], 'SGD'),
    'segformer_mit-b0':
    ('MixVisionTransformer', 'SegformerHead', ['decode'], 'AdamW'),
    'upernet_swin-t': ('SwinTransformer', 'UPerHead', ['decode',
                                                       'aux'], 'AdamW'),
}


def _load(name, **options):
    return load_config(
        str(CONFIGS / f'{PLAIN}_{name}.py'),
        work_dir='unused',
        cfg_options=options)


def _without_bases(path):
    tree = ast.parse(path.read_text())
    bases = [
        node for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == '_base_'
    ]
    assert len(bases) == 1
    tree.body.remove(bases[0])
    return ast.dump(tree), ast.literal_eval(bases[0].value)


@pytest.mark.parametrize('name', BACKBONES)
def test_only_base_lines_differ(name):
    rest, bases = _without_bases(CONFIGS / f'{PLAIN}_{name}.py')
    plain_rest, plain_bases = _without_bases(CONFIGS / f'{PLAIN}.py')
    assert rest == plain_rest
    changed = set(bases) - set(plain_bases)
    kinds = {Path(base).parent.name for base in changed}
    sgd = BACKBONES[name][-1] == 'SGD'
    assert kinds == ({'models'} if sgd else {'models', 'schedules'})


@pytest.mark.parametrize('name', BACKBONES)
def test_config(name):
    backbone, head, _, optimizer = BACKBONES[name]
    cfg = _load(name)
    assert cfg.model.backbone.type == backbone
    assert cfg.model.decode_head.type == head
    assert cfg.model.data_preprocessor.size == (512, 512)
    assert cfg.model.decode_head.norm_cfg.type == 'SyncBN'
    assert cfg.optim_wrapper.optimizer.type == optimizer
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[-1].end == 30
    lr = cfg.optim_wrapper.optimizer.lr
    step = build_step_cfg(cfg, 1)
    assert step.optim_wrapper.optimizer.lr == pytest.approx(lr / 10)
    assert step.optim_wrapper.optimizer.type == optimizer
    assert build_step_cfg(cfg, 0).model.decode_head.num_classes == 16


@pytest.mark.parametrize('name', BACKBONES)
def test_pretrained_is_one_key(name, tmp_path):
    default = _load(name)
    init_cfg = default.model.backbone.init_cfg
    assert init_cfg == dict(type='Pretrained', checkpoint=default.pretrained)
    assert '://' in default.pretrained
    weights = tmp_path / 'weights.pth'
    weights.touch()
    local = _load(name, pretrained=str(weights))
    assert local.model.backbone.init_cfg.checkpoint == str(weights)
    assert resolve_pretrained(local) is None
    random = _load(name, pretrained=None)
    assert resolve_pretrained(random) is None
    assert random.model.backbone.init_cfg is None
    # Later steps start from the step before, whatever `pretrained` says.
    assert 'init_cfg' not in build_step_cfg(local, 1).model.backbone


def _batch(size):
    labels = torch.randint(16, 21, (2, 1, size, size))
    labels[:, :, :size // 2] = 0
    samples = [
        SegDataSample(
            gt_sem_seg=PixelData(data=label),
            metainfo=dict(img_shape=(size, size))) for label in labels
    ]
    return dict(inputs=torch.randn(2, 3, size, size), data_samples=samples)


@pytest.mark.parametrize('name', BACKBONES)
def test_one_incremental_step(name):
    """Step 1 of 15-5: a full-size model, small pictures, a teacher."""
    *_, names, _ = BACKBONES[name]
    cfg = _load(name, data_root='nowhere', pretrained=None)
    step = build_step_cfg(cfg, 1)
    step.model.data_preprocessor.size = (64, 64)
    hook, = (h for h in step.custom_hooks if h.type == 'TeacherSnapshotHook')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    teacher = MODELS.build(hook.model)
    model = revert_sync_batchnorm(MODELS.build(step.model))
    model.load_state_dict(teacher.state_dict(), strict=True)
    model.set_teacher(teacher)
    stem = next(model.backbone.parameters())
    old_stem = stem.clone()
    classifiers = [head.conv_seg for _, head in model.named_heads()]
    old_weights = [layer.weight.clone() for layer in classifiers]
    optim_wrapper = build_optim_wrapper(model, step.optim_wrapper)
    log_vars = model.train().train_step(_batch(64), optim_wrapper)
    assert {
        f'{name}.loss_{kind}'
        for name in names
        for kind in ('ce', 'unkd')
    } == {k
          for k in log_vars if '.loss' in k}
    assert all(value.isfinite() for value in log_vars.values())
    assert len(classifiers) == len(names)
    for layer, old in zip(classifiers, old_weights):
        assert (layer.weight != old).flatten(1).any(dim=1)[16:].all()
    assert not torch.equal(stem, old_stem)


@pytest.mark.parametrize('name', ['segformer_mit-b0', 'upernet_swin-t'])
def test_learning_rates_and_decay_of_transformers(name):
    cfg = _load(name, pretrained=None)
    init_default_scope('mmseg')
    model = MODELS.build(build_step_cfg(cfg, 0).model)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    groups = {id(g['params'][0]): g for g in optimizer.param_groups}
    assert len(groups) == len(list(model.parameters()))
    for key, parameter in model.named_parameters():
        group = groups[id(parameter)]
        in_head = key.startswith(('decode_head', 'auxiliary_head'))
        assert group['lr'] == pytest.approx(6e-4 if in_head else 6e-5), key
        spared = not in_head and ('norm' in key
                                  or 'relative_position_bias_table' in key)
        assert group['weight_decay'] == (0 if spared else 0.01), key
