import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import HOOKS, MODELS
from mmseg.structures import SegDataSample

from mmseg_incremental.engine import TeacherSnapshotHook
from mmseg_incremental.engine.hooks import teacher_snapshot_hook
from mmseg_incremental.errors import IncrementalConfigError


def _model_cfg(num_classes, channels=4, **kwargs):
    return dict(
        type='IncrementalEncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor', size=(32, 32)),
        backbone=dict(
            type='ResNetV1c', depth=18, base_channels=4, stem_channels=4),
        decode_head=dict(
            type='FCNHead',
            in_channels=32,
            in_index=3,
            channels=channels,
            num_convs=1,
            num_classes=num_classes,
            norm_cfg=dict(type='BN')),
        test_cfg=dict(mode='whole'),
        **kwargs)


@pytest.fixture
def student():
    init_default_scope('mmseg')
    return MODELS.build(
        _model_cfg(5, distillation=[dict(type='UnbiasedDistillationLoss')]))


@pytest.fixture
def save(tmp_path):
    """Write a checkpoint of a model with so many classes."""

    def write(num_classes=3, drop=None, **kwargs):
        state_dict = MODELS.build(_model_cfg(num_classes,
                                             **kwargs)).state_dict()
        if drop is not None:
            del state_dict[drop]
        path = str(tmp_path / 'final.pth')
        torch.save(dict(meta={}, state_dict=state_dict), path)
        return path

    return write


def _runner(model):
    return SimpleNamespace(model=model, logger=logging.getLogger('teacher'))


def _batch():
    labels = torch.randint(5, (2, 1, 32, 32))
    samples = [SegDataSample(gt_sem_seg=PixelData(data=d)) for d in labels]
    return dict(inputs=torch.randn(2, 3, 32, 32), data_samples=samples)


def test_teacher_is_the_checkpoint(student, save, caplog):
    path = save()
    hook = HOOKS.build(
        dict(
            type='TeacherSnapshotHook',
            model=_model_cfg(3),
            checkpoint=path,
            fold_batch_norm=False))
    with caplog.at_level(logging.INFO, 'teacher'):
        hook.before_train(_runner(student))
    teacher = student.teacher
    expected = torch.load(path)['state_dict']
    assert list(teacher.state_dict()) == list(expected)
    for key, value in teacher.state_dict().items():
        assert torch.equal(value, expected[key]), key
    assert teacher.num_classes == 3
    assert not any('teacher' in key for key in student.state_dict())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not any(m.training for m in teacher.modules())
    assert f'Teacher: {path}, 3 classes, read by loss_unkd' in caplog.messages
    # Its random initialisation is not what it uses, and training goes on.
    student.train()
    optim_wrapper = OptimWrapper(torch.optim.SGD(student.parameters(), lr=0.1))
    assert student.train_step(_batch(), optim_wrapper)['loss'].isfinite()


def test_faster_teacher_says_the_same(student, save):
    path = save()
    images = _batch()['inputs']
    logits = []
    for options in (dict(fold_batch_norm=False), dict(),
                    dict(compile=dict(backend='eager'))):
        hook = TeacherSnapshotHook(_model_cfg(3), path, **options)
        hook.before_train(_runner(student))
        _, ((run, _), ) = student._run_teacher(images)
        logits.append(run.logits)
    assert not any(
        isinstance(module, torch.nn.BatchNorm2d)
        for module in student.teacher.modules())
    for others in logits[1:]:
        torch.testing.assert_close(others, logits[0], rtol=0, atol=1e-4)


def test_teacher_of_half_precision(student, save):
    hook = TeacherSnapshotHook(_model_cfg(3), save(), dtype='bfloat16')
    hook.before_train(_runner(student))
    _, ((run, _), ) = student._run_teacher(_batch()['inputs'])
    assert run.logits.dtype == torch.bfloat16
    losses = student.loss(**_batch())
    assert losses['decode.loss_unkd'].dtype == torch.float32
    assert losses['decode.loss_unkd'].isfinite()


@pytest.mark.parametrize('dtype, supported, is_told', [
    ('bfloat16', True, False),
    ('bfloat16', False, True),
    ('float16', False, True),
    (None, False, False),
])
def test_slow_type_is_told(dtype, supported, is_told, student, save, caplog,
                           monkeypatch):
    asked = []
    monkeypatch.setattr(teacher_snapshot_hook, 'has_fast_products',
                        lambda dtype: asked.append(dtype) or supported)
    hook = TeacherSnapshotHook(_model_cfg(3), save(), dtype=dtype)
    with caplog.at_level(logging.WARNING, 'teacher'):
        hook.before_train(_runner(student))
    assert asked == ([getattr(torch, dtype)] if dtype else [])
    message = f'teacher.dtype={dtype!r} makes the teacher slower, not faster'
    assert any(message in line for line in caplog.messages) == is_told
    caplog.clear()
    hook._warn_if_slow(_runner(student), torch.device('cuda'))
    assert not caplog.messages


def test_unknown_type_is_refused():
    with pytest.raises(
            IncrementalConfigError,
            match=r"teacher.dtype='bfloat' is unknown \(did you mean "
            r"'bfloat16'\?\); allowed are float16, bfloat16 and None"):
        TeacherSnapshotHook(_model_cfg(3), 'final.pth', dtype='bfloat')


def test_random_numbers_go_on_as_before(student, save):
    """A student draws the same numbers with and without a teacher."""
    path = save()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    TeacherSnapshotHook(_model_cfg(3), path).before_train(_runner(student))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    'kwargs, match',
    [
        # A load with growth would pad the first of these in silence.
        (dict(num_classes=2), r'conv_seg.weight has the shape \(2, 4, 1, 1\)'),
        (dict(num_classes=4), r'conv_seg.weight has the shape \(4, 4, 1, 1\)'),
        (dict(channels=6), r'has the shape \(3, 6, 1, 1\)'),
        (dict(drop='decode_head.conv_seg.bias'),
         'decode_head.conv_seg.bias is missing'),
    ])
def test_misfit_is_refused(kwargs, match, student, save):
    path = save(**kwargs)
    hook = TeacherSnapshotHook(_model_cfg(3), path)
    with pytest.raises(IncrementalConfigError, match=match) as error:
        hook.before_train(_runner(student))
    assert f'the teacher {path} does not fit' in str(error.value)
    assert student.teacher is None


def test_missing_file_is_refused(student, tmp_path):
    hook = TeacherSnapshotHook(_model_cfg(3), str(tmp_path / 'none.pth'))
    with pytest.raises(
            IncrementalConfigError,
            match="the teacher's checkpoint .*none.pth does not exist"):
        hook.before_train(_runner(student))


def test_distributed_model(student, save, tmp_path):
    """The wrapper neither sees nor synchronises the teacher."""
    torch.distributed.init_process_group(
        'gloo',
        init_method=f'file://{tmp_path / "rendezvous"}',
        rank=0,
        world_size=1)
    num_parameters = len(list(student.parameters()))
    model = MMDistributedDataParallel(module=student)
    TeacherSnapshotHook(_model_cfg(3), save()).before_train(_runner(model))
    assert student.teacher.num_classes == 3
    assert len(list(model.parameters())) == num_parameters
    assert not any('teacher' in key for key in model.state_dict())
    optim_wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    log_vars = model.train().train_step(_batch(), optim_wrapper)
    assert log_vars['decode.loss_unkd'].isfinite()
    assert not student.teacher.training


def test_frozen_encoder_has_to_be_that_of_the_teacher(save, caplog):
    init_default_scope('mmseg')
    student = MODELS.build(
        _model_cfg(
            5,
            distillation=[dict(type='UnbiasedDistillationLoss')],
            frozen_encoder=True))
    path = save()
    hook = TeacherSnapshotHook(_model_cfg(3), path)
    with pytest.raises(
            IncrementalConfigError,
            match='frozen_encoder=True, but .* of the encoder are not those'):
        hook.before_train(_runner(student))
    encoder = {
        key.removeprefix('backbone.'): value
        for key, value in torch.load(path)['state_dict'].items()
        if key.startswith('backbone.')
    }
    student.backbone.load_state_dict(encoder)
    with caplog.at_level('INFO', 'teacher'):
        hook.before_train(_runner(student))
    assert 'read by loss_unkd, with one encoder for both' in caplog.text


def test_compiled_teacher_records_nothing(save):
    init_default_scope('mmseg')
    student = MODELS.build(
        _model_cfg(5, distillation=[dict(type='LocalPODLoss')]))
    hook = TeacherSnapshotHook(_model_cfg(3), save(), compile=True)
    with pytest.raises(
            IncrementalConfigError,
            match='teacher.compile=True is not possible where losses read '
            'embedding and stages'):
        hook.before_train(_runner(student))
