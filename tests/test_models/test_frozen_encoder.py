"""A frozen encoder stays as it is, and runs once for teacher and student."""
import pytest
import torch

OLD, NEW = 7, 9
UNKD = dict(type='UnbiasedDistillationLoss', loss_weight=10.0)
POD = dict(type='LocalPODLoss')
FEATURES = dict(type='FeatureDistillationLoss')
NECK = dict(
    type='FPN', in_channels=[4, 8, 16, 32], out_channels=32, num_outs=4)


@pytest.fixture
def pair(build_model, head_cfg):
    """A student and a teacher with the same encoder."""

    def build(distillation=(UNKD, ), **kwargs):
        teacher = build_model(head_cfg(num_classes=OLD), **kwargs)
        student = build_model(
            head_cfg(num_classes=NEW, num_old=OLD, in_channels=32),
            distillation=list(distillation),
            frozen_encoder=True,
            **kwargs)
        for mine, theirs in zip(student.encoder_modules(),
                                teacher.encoder_modules()):
            mine.load_state_dict(theirs.state_dict())
        student.set_teacher(teacher)
        return student.train(), teacher

    return build


@pytest.fixture
def num_encoded(monkeypatch):
    """How often the encoder of a model ran."""

    def count(model):
        calls = []
        encode = model.extract_feat

        def counted(inputs):
            calls.append(inputs)
            return encode(inputs)

        monkeypatch.setattr(model, 'extract_feat', counted)
        return calls

    return count


@pytest.mark.parametrize('kwargs', [{}, dict(neck=NECK)])
@pytest.mark.parametrize('distillation', [[UNKD], [UNKD, POD], [FEATURES]])
def test_losses_are_those_of_two_encoders(distillation, kwargs, pair, images,
                                          data_samples, num_encoded,
                                          monkeypatch):
    student, teacher = pair(distillation, **kwargs)
    student_calls, teacher_calls = map(num_encoded, (student, teacher))

    def losses_and_gradients():
        student.zero_grad()
        losses = student.loss(images, data_samples())
        student.parse_losses(losses)[0].backward()
        gradients = {
            name: parameter.grad
            for name, parameter in student.named_parameters()
            if parameter.grad is not None
        }
        return {**losses, **gradients}

    shared = losses_and_gradients()
    assert len(student_calls) == 0 and len(teacher_calls) == 1
    monkeypatch.setattr(type(student), 'shares_encoder', False)
    expected = losses_and_gradients()
    assert len(student_calls) == 1 and len(teacher_calls) == 2
    assert list(shared) == list(expected)
    assert any(key.startswith('decode_head') for key in shared)
    for key, value in shared.items():
        torch.testing.assert_close(value, expected[key], msg=key)


def test_features_are_shared(pair, images, data_samples, monkeypatch):
    student, teacher = pair()
    seen = []
    for model in (student, teacher):
        head = model.decode_head
        run = head.forward

        def watched(features, run=run):
            seen.append([feature.data_ptr() for feature in features])
            return run(features)

        monkeypatch.setattr(head, 'forward', watched)
    student.loss(images, data_samples())
    assert len(seen) == 2 and seen[0] == seen[1]


def test_encoder_stays_as_it_is(pair, images, data_samples):
    student, _ = pair(neck=NECK)
    before = {k: v.clone() for k, v in student.state_dict().items()}
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, weight_decay=0.1)
    student.parse_losses(student.loss(images, data_samples()))[0].backward()
    optimizer.step()
    changed = {
        key.split('.')[0]
        for key, value in student.state_dict().items()
        if not torch.equal(value, before[key])
    }
    assert changed == {'decode_head'}


def test_encoder_without_teacher(pair, images, data_samples, num_encoded):
    """Fine-tuning of the heads alone."""
    student, teacher = pair([])
    student_calls, teacher_calls = map(num_encoded, (student, teacher))
    student.parse_losses(student.loss(images, data_samples()))[0].backward()
    assert len(student_calls) == 1 and len(teacher_calls) == 0
    assert student.decode_head.conv_seg.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in student.backbone.parameters())


def test_teacher_of_another_precision(pair, images, data_samples, num_encoded):
    student, teacher = pair()
    student.set_teacher(teacher, torch.bfloat16)
    student_calls = num_encoded(student)
    student.loss(images, data_samples())
    assert len(student_calls) == 1


def test_features_in_lists(pair, images, data_samples, monkeypatch):
    """As some transformers have them, with a class token."""
    student, teacher = pair()
    encode = teacher.extract_feat
    monkeypatch.setattr(
        teacher, 'extract_feat',
        lambda inputs: [[feature, feature.mean()]
                        for feature in encode(inputs)])
    for head in (student.decode_head, teacher.decode_head):
        run = head.forward
        monkeypatch.setattr(
            head,
            'forward',
            lambda features, run=run: run([first for first, _ in features]))
    losses = student.loss(images, data_samples())
    student.parse_losses(losses)[0].backward()
    assert student.decode_head.conv_seg.weight.grad.abs().sum() > 0
