"""Which heads take the fused losses, and that the result stays the same."""
import numpy as np
import pytest
import torch
from mmseg.models import FCNHead

from mmseg_incremental.models import (BaseLabelCompleter, CompletedLabels,
                                      fused_head)
from mmseg_incremental.models.losses import (UnbiasedCrossEntropyLoss,
                                             UnbiasedDistillationLoss)

OLD, NEW = 7, 9
UNCE = dict(type='UnbiasedCrossEntropyLoss', num_old=OLD)
CE = dict(type='CrossEntropyLoss')
BCE = dict(type='SigmoidCrossEntropyLoss')
UNKD = dict(type='UnbiasedDistillationLoss', loss_weight=10.0)
KD = dict(type='DistillationLoss', loss_weight=100.0)
BCE_KD = dict(type='SigmoidDistillationLoss')
POD = dict(type='LocalPODLoss')
SAMPLER = dict(type='OHEMPixelSampler', thresh=0.9, min_kept=20)


class Halves(BaseLabelCompleter):
    """Weigh every second pixel by a half."""

    def complete(self, labels, teacher_logits):
        weight = torch.ones(labels.shape)
        weight[..., ::2] = 0.5
        return CompletedLabels(labels, weight)


@pytest.fixture
def pair(build_model, head_cfg):
    """Two students of one teacher, with and without the fused losses."""

    def build(loss, distillation=(), completion=False, **head):

        def heads(num_classes, loss):
            common = dict(num_classes=num_classes, loss_decode=loss, **head)
            return dict(
                decode_head=head_cfg('ASPPHead', dilations=(1, 2), **common),
                auxiliary_head=head_cfg(
                    **{
                        **common, 'loss_decode': dict(loss, loss_weight=0.4)
                    }))

        teacher = build_model(**heads(OLD, CE))
        students = []
        for fused in (True, False):
            torch.manual_seed(1)
            student = build_model(
                **heads(NEW, loss),
                distillation=list(distillation),
                fused_losses=fused)
            student.set_teacher(teacher)
            student.label_completion = Halves() if completion else None
            students.append(student.eval())
        return students

    return build


@pytest.fixture
def num_fused(monkeypatch):
    """How often the fused losses were called."""
    calls = []
    fused_losses = fused_head.fused_losses

    def counted(*args, **kwargs):
        calls.append(args)
        return fused_losses(*args, **kwargs)

    monkeypatch.setattr(fused_head, 'fused_losses', counted)
    return lambda: len(calls)


def losses_and_gradients(model, *batch):
    losses = model.loss(*batch)
    model.parse_losses(losses)[0].backward()
    gradients = {
        name: parameter.grad
        for name, parameter in model.named_parameters()
    }
    return {**losses, **gradients}


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize('loss, distillation, completion', [
    (UNCE, [UNKD], False),
    (UNCE, [UNKD, POD], False),
    (UNCE, [POD, UNKD], False),
    (UNCE, [dict(UNKD, loss_name='loss_sum'),
            dict(POD, loss_name='loss_sum')], False),
    (UNCE, [KD], False),
    (UNCE, [POD], False),
    (dict(UNCE, avg_non_ignore=True), [UNKD], False),
    (dict(UNCE, class_weight=[1. + c for c in range(12)]), [UNKD], False),
    (CE, [KD], False),
    (CE, [UNKD], False),
    (CE, [POD], True),
    (CE, [KD, POD], True),
    (dict(CE, avg_non_ignore=True), [KD], False),
    (dict(CE, class_weight=[1. + c for c in range(NEW)]), [KD], True),
    (CE, [POD], False),
    (CE, [dict(KD, loss_weight=0.0), UNKD], False),
])
def test_fused(loss, distillation, completion, align_corners, pair, images,
               data_samples, num_fused):
    fused, readable = pair(
        loss, distillation, completion, align_corners=align_corners)
    batch = images, data_samples((0, 0, 0, 3, 7, 8, 255))
    result = losses_and_gradients(fused, *batch)
    assert num_fused() == 2
    expected = losses_and_gradients(readable, *batch)
    assert num_fused() == 2
    assert list(result) == list(expected)
    for key, value in result.items():
        torch.testing.assert_close(value, expected[key], msg=key)


@pytest.mark.parametrize('loss', [
    CE, UNCE,
    dict(CE, avg_non_ignore=True),
    dict(CE, class_weight=[1. + c for c in range(NEW)])
])
def test_fused_without_teacher(loss, pair, images, data_samples, num_fused):
    """Step 0, joint training, fine-tuning and penalties of weights."""
    fused, readable = pair(loss)
    batch = images, data_samples((0, 0, 0, 3, 7, 8, 255))
    fused.teacher = None
    result = losses_and_gradients(fused, *batch)
    assert num_fused() == 2
    expected = losses_and_gradients(readable, *batch)
    assert num_fused() == 2
    assert list(result) == list(expected)
    for key, value in result.items():
        torch.testing.assert_close(value, expected[key], msg=key)


@pytest.mark.parametrize('loss', [CE, UNCE])
def test_weight_zero_is_left_out(loss, pair, images, data_samples, num_fused):
    """The gradient is that without distillation, to the bit."""
    batch = images, data_samples()
    alone, _ = pair(loss)
    expected = losses_and_gradients(alone, *batch)
    idle, _ = pair(loss, [dict(KD, loss_weight=0.0)])
    result = losses_and_gradients(idle, *batch)
    assert num_fused() == 4
    for key, value in expected.items():
        assert torch.equal(result[key], value), key


@pytest.mark.parametrize('loss, head', [
    (BCE, {}),
    (dict(CE, use_sigmoid=True), {}),
    (CE, dict(sampler=SAMPLER)),
])
def test_not_fused_without_teacher(loss, head, pair, images, data_samples,
                                   num_fused):
    model, readable = pair(loss, **head)
    batch = images, data_samples()
    result = losses_and_gradients(model, *batch)
    assert num_fused() == 0
    for key, value in losses_and_gradients(readable, *batch).items():
        assert torch.equal(result[key], value), key


def test_plain_cross_entropy_saves_where_it_is_small(pair, monkeypatch):
    model, _ = pair(CE)
    plain = fused_head.fuse(model.decode_head)
    small = torch.empty(2, NEW, 4, 4)
    assert plain.saves(small, (8, 8))
    assert not plain.saves(small, (4, 4))
    elsewhere = small.to('meta')
    assert not plain.saves(elsewhere, (8, 8))
    monkeypatch.setattr(fused_head, 'has_kernels', lambda *args: True)
    assert plain.saves(elsewhere, (8, 8))
    assert not plain.saves(elsewhere, (4, 4))
    model, _ = pair(UNCE)
    assert fused_head.fuse(model.decode_head).saves(small.to('meta'), (4, 4))


def test_head_with_labels_of_its_own(pair):

    class Head(FCNHead):

        def _stack_batch_gt(self, samples):
            return super()._stack_batch_gt(samples)

    model, _ = pair(CE)
    model.auxiliary_head.__class__ = Head
    assert fused_head.fuse(model.auxiliary_head) is None


def test_head_with_a_loss_of_its_own(pair, images, data_samples, num_fused):
    """Without a teacher it is called, and the other head's stock loss."""

    class Head(FCNHead):

        def loss(self, *args):
            return dict(loss_own=super().loss(*args)['loss_ce'])

    model, _ = pair(CE)
    model.auxiliary_head.__class__ = Head
    losses = model.loss(images, data_samples())
    assert {'decode.loss_ce', 'aux.loss_own'} < set(losses)
    assert num_fused() == 0


@pytest.mark.parametrize('loss, distillation, head', [
    (CE, [KD, UNKD], {}),
    (CE, [BCE_KD], {}),
    (CE, [dict(KD, temperature=2.0)], {}),
    (BCE, [BCE_KD], {}),
    (dict(CE, use_sigmoid=True), [KD], {}),
    (dict(UNCE, num_old=3), [UNKD], {}),
    (UNCE, [UNKD], dict(sampler=SAMPLER)),
])
def test_not_fused(loss, distillation, head, pair, images, data_samples,
                   num_fused):
    model, readable = pair(loss, distillation, **head)
    batch = images, data_samples()
    result = losses_and_gradients(model, *batch)
    assert num_fused() == 0
    for key, value in losses_and_gradients(readable, *batch).items():
        assert torch.equal(result[key], value), key


def test_subclass_of_a_loss_is_not_fused(pair, images, data_samples,
                                         num_fused):
    """It may compute anything."""

    class Loss(UnbiasedCrossEntropyLoss):
        pass

    class Distillation(UnbiasedDistillationLoss):
        pass

    model, _ = pair(UNCE)
    model.distillation.append(Distillation())
    model.loss(images, data_samples())
    model.distillation[0] = UnbiasedDistillationLoss()
    model.decode_head.loss_decode = Loss(num_old=OLD)
    model.auxiliary_head.loss_decode = Loss(num_old=OLD)
    model.loss(images, data_samples())
    assert num_fused() == 0


def test_class_weight_from_a_file(pair, images, data_samples, num_fused,
                                  tmp_path):
    path = str(tmp_path / 'weight.npy')
    np.save(path, np.linspace(0.5, 2, NEW))
    fused, readable = pair(dict(CE, class_weight=path), [KD])
    batch = images, data_samples()
    result = losses_and_gradients(fused, *batch)
    assert num_fused() == 2
    for key, value in losses_and_gradients(readable, *batch).items():
        torch.testing.assert_close(result[key], value, msg=key)


def test_short_class_weight_is_refused(pair, images, data_samples):
    model, _ = pair(dict(UNCE, class_weight=[1.0] * 8), [UNKD])
    with pytest.raises(ValueError, match='has 8 entries, but 9 classes'):
        model.loss(images, data_samples())


def test_accuracy_where_all_is_ignored(pair, images, data_samples):
    fused, readable = pair(UNCE, [UNKD])
    batch = images, data_samples((255, ))
    torch.testing.assert_close(
        fused.loss(*batch)['decode.acc_seg'],
        readable.loss(*batch)['decode.acc_seg'])
