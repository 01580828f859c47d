import copy
import math
import runpy
from pathlib import Path

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmseg.models.utils import resize

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models import (BaseLabelCompleter, CompletedLabels,
                                      distiller)
from mmseg_incremental.models.distiller import Distiller
from mmseg_incremental.models.losses import (BaseDistillationLoss,
                                             unbiased_cross_entropy)

_TOKENS = runpy.run_path(str(Path(__file__).with_name('class_tokens.py')))
DPT, VIT = _TOKENS['DPT'], _TOKENS['VIT']
OLD, NEW = 7, 9
WEIGHT = 10.0
UNKD = dict(type='UnbiasedDistillationLoss', loss_weight=WEIGHT)
POD = dict(type='LocalPODLoss')


class Believer(BaseLabelCompleter):
    """Take the teacher's word for every pixel but that of new classes."""

    def __init__(self):
        self.shown = []
        self.seen = []

    def observe(self, labels, teacher_logits):
        self.shown.append((labels, teacher_logits))

    def complete(self, labels, teacher_logits):
        self.seen.append((labels, teacher_logits))
        weight = torch.linspace(0, 1, labels.numel()).view(labels.shape)
        completed = torch.where(labels < OLD, teacher_logits.argmax(dim=1),
                                labels)
        return CompletedLabels(completed, weight)


class FeatureGap(BaseDistillationLoss):
    """Mean difference of one feature, counting its calls."""

    def __init__(self, *reads):
        super().__init__(2.0, 'loss_gap')
        self.reads = reads
        self.seen = []

    def forward(self, student, teacher):
        self.seen.append((student, teacher))
        gap = student.features[0] - teacher.features[0]
        return self.loss_weight * gap.abs().mean()


def _heads(kind, head_cfg, num_classes):
    """Heads of a segmentor."""
    common = dict(
        num_old=OLD if num_classes > OLD else 0, num_classes=num_classes)
    head = head_cfg('ASPPHead', dilations=(1, 2), **common)
    auxiliary = head_cfg(loss_weight=0.4, **common)
    shallow = head_cfg(in_channels=16, in_index=2, loss_weight=0.2, **common)
    if kind == 'cascade':
        first = head_cfg(loss_weight=0.5, **common)
        ocr = head_cfg('OCRHead', ocr_channels=8, **common)
        return dict(decode_head=[first, ocr, ocr], auxiliary_head=shallow)
    if kind == 'auxiliary':
        return dict(decode_head=head, auxiliary_head=auxiliary)
    if kind == 'auxiliaries':
        return dict(decode_head=head, auxiliary_head=[auxiliary, shallow])
    return dict(decode_head=head)


# Names in the log and weight of the loss of each head.
HEADS = {
    'plain': dict(decode=1.0),
    'auxiliary': dict(decode=1.0, aux=0.4),
    'auxiliaries': dict(decode=1.0, aux_0=0.4, aux_1=0.2),
    'cascade': dict(decode_0=0.5, decode_1=1.0, decode_2=1.0, aux=0.2),
}


@pytest.fixture
def pair(build_model, head_cfg):
    """A teacher with contrasts in its logits and a student grown from it."""

    def build(kind='plain', distillation=(UNKD, ), set_teacher=True):
        teacher = build_model(**_heads(kind, head_cfg, OLD))
        with torch.no_grad():
            for _, head in teacher.named_heads():
                head.conv_seg.weight.mul_(100)
        student = build_model(
            **_heads(kind, head_cfg, NEW), distillation=list(distillation))
        student.load_state_dict(teacher.state_dict(), strict=True)
        if set_teacher:
            student.set_teacher(teacher)
        return student.eval(), teacher

    return build


def _logits(model, images):
    """Low-resolution logits of every head, by its name in the log."""
    with torch.no_grad():
        outputs = model.forward_heads(model.extract_feat(images))
    return {output.name: output.logits for output in outputs}


def _upsampled(logits, size=(64, 64)):
    return resize(logits, size, mode='bilinear', align_corners=False).double()


@pytest.mark.parametrize('kind', HEADS)
def test_background_logit_is_shared(kind, pair, images):
    student, teacher = pair(kind)
    old, new = _logits(teacher, images), _logits(student, images)
    assert list(old) == list(new) == list(HEADS[kind])
    if kind == 'cascade':
        # A later stage pools features by the logits of the one before, which
        # are not those of the teacher.
        del old['decode_1'], old['decode_2']
    for name, logits in old.items():
        # Contrasts, so that the equality says something.
        assert logits[:, 0].std() > 0.05
        for grown, u in ((new[name], logits), (_upsampled(new[name]),
                                               _upsampled(logits))):
            shared = grown[:, [0, *range(OLD, NEW)]].logsumexp(dim=1)
            torch.testing.assert_close(shared, u[:, 0], rtol=0, atol=1e-5)
            torch.testing.assert_close(
                grown[:, 1:OLD], u[:, 1:], rtol=0, atol=1e-5)


@pytest.mark.parametrize('kind', ['plain', 'auxiliary', 'auxiliaries'])
def test_losses_of_a_grown_model(kind, pair, images, data_samples):
    student, teacher = pair(kind)
    samples = data_samples((0, ))
    losses = student.loss(images, samples)
    for name, logits in _logits(teacher, images).items():
        scale = HEADS[kind][name]
        log_q = _upsampled(logits).log_softmax(dim=1)
        q = log_q.exp()
        entropy = -(q * log_q).sum(dim=1).mean().item()
        assert losses[f'{name}.loss_unkd'].item() == pytest.approx(
            scale * WEIGHT * entropy / OLD, abs=1e-5)
        # The background keeps 1 of N + 1 parts of its probability.
        old_prob = q[:, 0] / (NEW - OLD + 1) + q[:, 1:].sum(dim=1)
        assert losses[f'{name}.loss_ce'].item() == pytest.approx(
            scale * -old_prob.log().mean().item(), abs=1e-5)


def test_old_and_new_model_agree_on_old_classes(pair, images):
    student, teacher = pair()
    student_prob = _upsampled(student(images,
                                      mode='tensor').detach()).softmax(dim=1)
    teacher_prob = _upsampled(teacher(images,
                                      mode='tensor').detach()).softmax(dim=1)
    merged = student_prob[:, :OLD].clone()
    merged[:, 0] += student_prob[:, OLD:].sum(dim=1)
    torch.testing.assert_close(merged, teacher_prob, rtol=0, atol=1e-5)


@pytest.mark.parametrize('kind', HEADS)
def test_loss_is_that_of_the_stock_heads(kind, pair, images, data_samples):
    """Distillation adds losses and leaves the others as they are."""
    student, teacher = pair(kind)
    losses = student.loss(images, data_samples())
    student.distillation = Distiller()
    stock = student.loss(images, data_samples())
    assert set(losses) - set(stock) == {
        f'{name}.loss_unkd'
        for name in HEADS[kind]
    }
    for key, value in stock.items():
        torch.testing.assert_close(losses[key], value)


@pytest.mark.parametrize('kind', HEADS)
def test_rows_are_carried_by_name(kind, pair):
    student, teacher = pair(kind)
    source = ['background', 'b', 'c', 'd', 'e', 'f', 'g']
    target = ['background', 'x', 'g', 'f', 'e', 'y', 'd', 'c', 'b']
    state_dict = teacher.state_dict()
    student.grow_state_dict(state_dict, source, target)
    student.load_state_dict(state_dict, strict=True)
    for (name, head), (_, old) in zip(student.named_heads(),
                                      teacher.named_heads()):
        for row, label in enumerate(target):
            expected = source.index(label) if label in source else 0
            assert torch.equal(head.conv_seg.weight[row],
                               old.conv_seg.weight[expected]), (name, label)
            bias = old.conv_seg.bias[expected].item()
            bias -= math.log(3) if expected == 0 else 0
            assert head.conv_seg.bias[row].item() == pytest.approx(bias)


def test_sizes_are_those_of_the_step(pair):
    student, _ = pair()
    assert student.num_classes == student.out_channels == NEW


@pytest.mark.parametrize('copied', [False, True])
def test_teacher_is_hidden(copied, pair):
    student, teacher = pair()
    alone, _ = pair(set_teacher=False)
    if copied:
        student = copy.deepcopy(student)
        teacher = student.teacher
    assert list(student.state_dict()) == list(alone.state_dict())
    names = [name for name, _ in student.named_modules()]
    assert names == [name for name, _ in alone.named_modules()]
    own = {id(p) for p in student.parameters()}
    assert len(own) == len(list(alone.parameters()))
    assert own.isdisjoint(id(p) for p in teacher.parameters())
    optim_wrapper = build_optim_wrapper(
        student,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='SGD', lr=0.1, weight_decay=0.1),
            paramwise_cfg=dict(norm_decay_mult=0)))
    optimized = {
        id(p)
        for group in optim_wrapper.optimizer.param_groups
        for p in group['params']
    }
    assert optimized == own


def test_teacher_is_frozen(pair, images, data_samples):
    student, teacher = pair()
    before = copy.deepcopy(teacher.state_dict())
    student.train()
    optim_wrapper = OptimWrapper(torch.optim.SGD(student.parameters(), lr=0.1))
    student.train_step(
        dict(inputs=images, data_samples=data_samples()), optim_wrapper)
    assert student.training
    assert not any(part.training for part in teacher.modules())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p.grad is None for p in teacher.parameters())
    for key, value in teacher.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize('early', [True, False])
def test_averaged_model_has_no_teacher(early, pair, images, data_samples):
    student, teacher = pair(set_teacher=False)
    if early:
        # EMAHook copies the model in before_run, ahead of the teacher.
        averaged = ExponentialMovingAverage(student)
        student.set_teacher(teacher)
    else:
        student.set_teacher(teacher)
        averaged = ExponentialMovingAverage(student)
    keys = {key.removeprefix('module.') for key in averaged.state_dict()}
    assert keys == {*student.state_dict(), 'steps'}
    averaged.update_parameters(student)


def test_copy_still_grows(pair):
    student, teacher = pair()
    clone = copy.deepcopy(student)
    with torch.no_grad():
        clone.decode_head.conv_seg.weight.fill_(1)
    clone.load_state_dict(teacher.state_dict(), strict=True)
    assert torch.equal(clone.decode_head.conv_seg.weight,
                       student.decode_head.conv_seg.weight)


def _count(monkeypatch, model, name):
    calls = []
    forward = getattr(model, name)

    def counted(*args):
        calls.append(name)
        return forward(*args)

    monkeypatch.setattr(model, name, counted)
    return calls


def test_unread_teacher_does_not_run(pair, images, data_samples, monkeypatch):
    student, teacher = pair(distillation=())
    calls = _count(monkeypatch, teacher, 'extract_feat')
    losses = student.loss(images, data_samples())
    assert not calls
    assert set(losses) == {'decode.loss_ce', 'decode.acc_seg'}


def test_each_network_runs_once(pair, images, data_samples, monkeypatch):
    student, teacher = pair('cascade')
    calls = []
    for model in (student, teacher):
        calls.append(_count(monkeypatch, model, 'extract_feat'))
        calls += [
            _count(monkeypatch, head, 'forward')
            for _, head in model.named_heads()
        ]
    student.loss(images, data_samples())
    assert [len(names) for names in calls] == [1] * 10


def test_losses_without_teacher_are_refused(pair, images, data_samples):
    student, _ = pair(set_teacher=False)
    with pytest.raises(
            IncrementalConfigError, match='add the hook TeacherSnapshotHook'):
        student.loss(images, data_samples())


@pytest.mark.parametrize('kind, name', [('auxiliaries', 'decode'),
                                        ('cascade', 'decode_2')])
def test_features_count_once(kind, name, pair, images, data_samples,
                             monkeypatch):
    student, teacher = pair(kind, distillation=())
    with torch.no_grad():
        student.backbone.stem[0].weight.add_(1)
    loss = FeatureGap('features')
    student.distillation.append(loss)

    def refuse(*args, **kwargs):
        raise AssertionError('nothing reads upsampled logits')

    monkeypatch.setattr(distiller, 'resize', refuse)
    calls = _count(monkeypatch, teacher, 'forward_heads')
    losses = student.loss(images, data_samples())
    assert [key for key in losses if 'gap' in key] == [f'{name}.loss_gap']
    (student_out, teacher_out), = loss.seen
    assert not calls and teacher_out.logits is None
    assert student_out.seg_logits is None and teacher_out.seg_logits is None
    with torch.no_grad():
        gap = student.extract_feat(images)[0] - teacher.extract_feat(images)[0]
    assert gap.abs().mean() > 0
    torch.testing.assert_close(losses[f'{name}.loss_gap'],
                               2 * gap.abs().mean())


@pytest.mark.parametrize('reads, count', [
    (('logits', ), 3),
    (('features', 'logits'), 1),
    (('features', 'seg_logits'), 1),
    (('stages', ), 1),
    (('embedding', ), 1),
    (('embedding', 'logits'), 1),
    ((), 1),
])
def test_what_a_loss_reads_decides_where_it_counts(reads, count, pair, images,
                                                   data_samples):
    student, teacher = pair('auxiliaries', distillation=())
    loss = FeatureGap(*reads)
    student.distillation.append(loss)
    student.loss(images, data_samples())
    assert len(loss.seen) == count
    for student_out, teacher_out in loss.seen:
        if 'logits' in reads:
            assert student_out.logits.shape[1] == NEW
            assert teacher_out.logits.shape[1] == OLD
        if 'seg_logits' in reads:
            assert student_out.seg_logits.shape == (2, NEW, 64, 64)
            assert teacher_out.seg_logits.shape == (2, OLD, 64, 64)
        else:
            assert student_out.seg_logits is teacher_out.seg_logits is None
        for output in (student_out, teacher_out):
            assert bool(output.stages) == ('stages' in reads)
            if 'stages' in reads:
                assert len(output.stages) == 4
            assert (output.embedding is not None) == ('embedding' in reads)


def test_losses_of_one_name_add_up(pair, images, data_samples):
    once, _ = pair()
    twice, _ = pair(distillation=(UNKD, UNKD))
    twice.load_state_dict(once.state_dict())
    twice.set_teacher(once.teacher)
    key = 'decode.loss_unkd'
    torch.testing.assert_close(
        twice.loss(images, data_samples())[key],
        2 * once.loss(images, data_samples())[key])


@pytest.mark.parametrize('num_old', [1, OLD])
def test_detail_head_is_left_alone(num_old, build_model, head_cfg, images,
                                   data_samples):
    """STDC's head predicts boundaries, even where there are two classes."""
    detail = head_cfg('STDCHead', in_channels=4, in_index=0, num_classes=2)
    detail['loss_decode'] = dict(
        type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0)
    num_new = num_old + 1

    def build(num_classes, **kwargs):
        return build_model(
            head_cfg(num_classes=num_classes),
            auxiliary_head=[head_cfg(num_classes=num_classes), detail],
            **kwargs)

    teacher = build(num_old)
    student = build(num_new, distillation=[UNKD])
    names = [str(i) for i in range(num_new)]
    state_dict = teacher.state_dict()
    student.grow_state_dict(state_dict, names[:num_old], names)
    student.load_state_dict(state_dict, strict=True)
    assert torch.equal(student.auxiliary_head[1].conv_seg.weight,
                       teacher.auxiliary_head[1].conv_seg.weight)
    student.set_teacher(teacher)
    losses = student.loss(images, data_samples((0, num_new - 1)))
    assert [key for key in losses
            if 'unkd' in key] == ['decode.loss_unkd', 'aux_0.loss_unkd']
    assert 'aux_1.loss_ce' in losses


@pytest.mark.parametrize('kind', ['auxiliaries', 'cascade'])
@pytest.mark.parametrize('distillation, completes, runs', [
    ((UNKD, ), False, True),
    ((UNKD, POD), True, True),
    ((POD, ), False, False),
    ((), True, False),
])
def test_auxiliary_heads_of_the_teacher_run_if_read(kind, distillation,
                                                    completes, runs, pair,
                                                    images, data_samples,
                                                    monkeypatch):
    student, teacher = pair(kind, distillation=distillation)
    if completes:
        student.label_completion = Believer()
    teacher_calls, student_calls = ([
        _count(monkeypatch, head, 'forward')
        for name, head in model.named_heads()
        if name.startswith('auxiliary_head')
    ] for model in (teacher, student))
    student.loss(images, data_samples())
    assert teacher_calls and all(
        len(calls) == int(runs) for calls in teacher_calls)
    assert all(len(calls) == 1 for calls in student_calls)
    if completes:
        student.observe_labels(images, data_samples())
        assert all(len(calls) == int(runs) for calls in teacher_calls)


@pytest.mark.parametrize('kind', HEADS)
def test_completed_labels_serve_every_head(kind, pair, images, data_samples,
                                           monkeypatch):
    student, teacher = pair(kind, distillation=())
    completer = student.label_completion = Believer()
    samples = data_samples((0, 7, 8, 255))
    untouched = [sample.gt_sem_seg.data.clone() for sample in samples]
    calls = _count(monkeypatch, teacher, 'extract_feat')
    losses = student.loss(images, samples)
    assert len(calls) == len(completer.seen) == 1 and not completer.shown
    (labels, teacher_logits), = completer.seen
    for sample, label, before in zip(samples, labels, untouched):
        assert torch.equal(sample.gt_sem_seg.data, before)
        assert torch.equal(label[None], before)
    # The word of the decode head, the last one of a cascade.
    name = 'decode_2' if kind == 'cascade' else 'decode'
    torch.testing.assert_close(teacher_logits.double(),
                               _upsampled(_logits(teacher, images)[name]))

    completed, weight = completer.complete(labels, teacher_logits)
    assert completed.unique().numel() > 4
    for name, logits in _logits(student, images).items():
        expected = HEADS[kind][name] * unbiased_cross_entropy(
            _upsampled(logits), completed, OLD, pixel_weight=weight)
        torch.testing.assert_close(losses[f'{name}.loss_ce'], expected.float())
    student.observe_labels(images, samples)
    for shown, seen in zip(completer.shown[0], (labels, teacher_logits)):
        assert torch.equal(shown, seen) and not shown.requires_grad


def test_completion_without_teacher_is_refused(pair, images, data_samples):
    student, _ = pair(distillation=(), set_teacher=False)
    student.label_completion = Believer()
    with pytest.raises(
            IncrementalConfigError, match='or model.label_completion is set'):
        student.loss(images, data_samples())


@pytest.mark.parametrize('kind', ['plain', 'auxiliaries'])
def test_pod_of_a_grown_model(kind, pair, images, data_samples):
    """Its features are those of the teacher until they are trained."""
    pod = dict(type='LocalPODLoss', logit_factor=0.0)
    student, teacher = pair(kind, distillation=[pod])
    losses = student.loss(images, data_samples())
    assert [key for key in losses if 'pod' in key] == ['decode.loss_pod']
    assert losses['decode.loss_pod'] == 0
    student.train()
    optim_wrapper = OptimWrapper(torch.optim.SGD(student.parameters(), lr=0.1))
    for _ in range(2):
        losses = student.train_step(
            dict(inputs=images, data_samples=data_samples()), optim_wrapper)
    assert losses['decode.loss_pod'] > 0
    for model in (student, teacher):
        assert not any(m._forward_hooks or m._forward_pre_hooks
                       for m in model.modules())


@pytest.mark.parametrize('frozen_encoder', [False, True])
@pytest.mark.parametrize('loss', ['LocalPODLoss', 'FeatureDistillationLoss'])
def test_class_tokens_are_not_compared(loss, frozen_encoder, build_model,
                                       head_cfg, images, data_samples):
    """DPTHead reads them beside the maps."""

    def build(num_classes, **kwargs):
        head = head_cfg('DPTHead', num_classes=num_classes, **DPT)
        return build_model(head, backbone=VIT, **kwargs)

    teacher = build(OLD)
    student = build(
        NEW, distillation=[dict(type=loss)], frozen_encoder=frozen_encoder)
    student.set_teacher(teacher)
    losses = student.loss(images, data_samples())
    value, = (losses[key] for key in losses if 'pod' in key or 'feat' in key)
    assert value.isfinite()
    if loss == 'FeatureDistillationLoss':
        with torch.no_grad():
            (new, _), (old, _) = (
                model.extract_feat(images)[-1] for model in (student, teacher))
        expected = 100 * (new - old).square().mean() * (not frozen_encoder)
        assert value.item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize('dice_first', [True, False])
def test_distillation_shares_the_weight_of_cross_entropy(
        dice_first, build_model, head_cfg, images, data_samples):
    """Whatever other losses a head has, and in whatever order."""
    losses = [
        dict(type='DiceLoss', loss_weight=3.0),
        dict(type='UnbiasedCrossEntropyLoss', num_old=OLD, loss_weight=0.5)
    ]
    head = head_cfg(num_classes=NEW)
    head['loss_decode'] = losses if dice_first else losses[::-1]
    student = build_model(decode_head=head, distillation=[UNKD]).eval()
    alone = build_model(
        decode_head=head_cfg(num_classes=NEW, loss_weight=0.5),
        distillation=[UNKD]).eval()
    alone.load_state_dict(student.state_dict())
    teacher = build_model(decode_head=head_cfg())
    values = []
    for model in (student, alone):
        model.set_teacher(teacher)
        loss = model.loss(images, data_samples())
        values.append(loss['decode.loss_unkd'])
    assert torch.equal(*values)


@pytest.mark.parametrize('kind', HEADS)
def test_step_under_autocast(kind, pair, images, data_samples):
    """Losses and gradients are finite and near those of full precision."""
    student, _ = pair(kind)
    expected = student.loss(images, data_samples())
    with torch.autocast('cpu', torch.bfloat16):
        losses = student.loss(images, data_samples())
    for key, value in losses.items():
        if 'loss' in key:
            assert value.dtype == torch.float32
            torch.testing.assert_close(
                value, expected[key], rtol=0.1, atol=0.1)
    sum(v for k, v in losses.items() if 'loss' in k).backward()
    for parameter in student.parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all()


@pytest.mark.parametrize('norm_eval', [True, False])
def test_frozen_statistics(norm_eval, build_model, head_cfg, images,
                           data_samples):
    model = build_model(decode_head=head_cfg(), norm_eval=norm_eval).train()
    before = copy.deepcopy(model.state_dict())
    model.loss(images, data_samples((0, 1, 255)))['decode.loss_ce'].backward()
    changed = [
        key for key, value in model.state_dict().items()
        if not torch.equal(value, before[key])
    ]
    assert bool(changed) is not norm_eval
    assert model.decode_head.training and model.backbone.training
    assert model.backbone.layer1[0].bn1.weight.grad is not None
    assert not any(m.training for m in model.eval().modules())
