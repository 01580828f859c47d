import shutil
from pathlib import Path
from typing import Callable

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmseg.apis import init_model
from mmseg.models import EncoderDecoder
from mmseg.registry import DATASETS, MODELS
from torch import Tensor

from mmseg_incremental.engine import build_step_cfg, run_steps
from mmseg_incremental.models import BaseLabelCompleter, BaseWeightFusion
from mmseg_incremental.models.label_completion import CompletedLabels

METHODS = Path(__file__).parents[2] / 'configs' / '_base_' / 'methods'
NAMES = sorted(path.stem for path in METHODS.glob('*.py'))
STEPS = dict(num_panel_images=0)


class WeightsAfterTheStep(BaseWeightFusion):
    """An average that leaves all to the step."""

    calls = 0

    def new_share(self, num_old: int, num_seen: int) -> float:
        type(self).calls += 1
        return 1.0


class LabelsAsTheyAre(BaseLabelCompleter):
    """A completer that fills in nothing and weighs every pixel alike."""

    calls = 0

    def complete(self, labels: Tensor,
                 teacher_logits: Tensor) -> CompletedLabels:
        type(self).calls += 1
        assert teacher_logits.shape[2:] == labels.shape[1:]
        return CompletedLabels(labels, torch.ones_like(labels).float())


def state(work_dir: Path, step: int) -> dict:
    return torch.load(work_dir / f'step_{step}' / 'final.pth')['state_dict']


def assert_same_weights(ours: dict, theirs: dict) -> None:
    assert list(ours) == list(theirs)
    assert not [k for k in ours if not torch.equal(ours[k], theirs[k])]


@pytest.fixture(scope='module')
def run(tiny_cfg, tmp_path_factory):
    """Run two steps of a method, once for all tests."""
    finished = {}

    def run_method(name: str) -> Path:
        if name not in finished:
            finished[name] = tmp_path_factory.mktemp(name) / 'work'
            steps = [0] if name == 'joint' else [0, 1]
            run_steps(tiny_cfg(finished[name], name, **STEPS), steps=steps)
        return finished[name]

    return run_method


def predict(model: EncoderDecoder, cfg: Config) -> list:
    """Predictions for the validation images."""
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    batch = pseudo_collate([dataset[i] for i in range(4)])
    with torch.no_grad():
        return revert_sync_batchnorm(model).eval().test_step(batch)


@pytest.mark.parametrize('name', NAMES)
def test_checkpoints_are_plain(run, tiny_cfg, name):
    work_dir = run(name)
    step = 0 if name == 'joint' else 1
    folder = work_dir / f'step_{step}'
    model = init_model(
        str(folder / 'deploy.py'), str(folder / 'final.pth'), device='cpu')
    assert type(model) is EncoderDecoder
    model.load_state_dict(state(work_dir, step), strict=True)
    assert all(value.isfinite().all() for value in model.state_dict().values())

    # The sigmoid methods too are read by the argmax of the logits.
    cfg = build_step_cfg(tiny_cfg(work_dir, name), step)
    ours = MODELS.build(cfg.model)
    ours.load_state_dict(state(work_dir, step), strict=True)
    for mine, stock in zip(predict(ours, cfg), predict(model, cfg)):
        logits = stock.seg_logits.data
        assert torch.equal(mine.seg_logits.data, logits)
        assert torch.equal(mine.pred_sem_seg.data, stock.pred_sem_seg.data)
        assert torch.equal(stock.pred_sem_seg.data, logits.argmax(0, True))


@pytest.mark.parametrize('name', [n for n in NAMES if n != 'joint'])
def test_stop_between_steps(run, tiny_cfg, tmp_path, name):
    whole, work_dir = run(name), tmp_path / 'moved'
    shutil.copytree(whole, work_dir)
    shutil.rmtree(work_dir / 'step_1')
    cfg = tiny_cfg(work_dir, name, **STEPS)
    run_steps(cfg, steps=[0, 1], resume=True)
    assert_same_weights(state(work_dir, 1), state(whole, 1))
    files = dict(
        weight_regularizers='importance.pth',
        label_completion='label_completion.json')
    for key, file in files.items():
        ours, theirs = (path / 'step_1' / file for path in (work_dir, whole))
        assert ours.exists() == theirs.exists() == bool(cfg.method.get(key))
        if ours.exists():
            assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize('key, part', [
    ('distillation', dict(type='DistillationLoss')),
    ('distillation', dict(type='UnbiasedDistillationLoss')),
    ('distillation', dict(type='SigmoidDistillationLoss')),
    ('distillation', dict(type='FeatureDistillationLoss')),
    ('distillation', dict(type='LocalPODLoss')),
    ('weight_regularizers', dict(type='ElasticWeightConsolidation')),
    ('weight_regularizers', dict(type='PathIntegral')),
    ('weight_regularizers', dict(type='RiemannianWalk')),
])  # yapf: disable
def test_without_weight_it_is_fine_tuning(run, tiny_cfg, tmp_path, key, part):
    parts = [dict(part, loss_weight=0.0)]
    assert_is_fine_tuning(run, tiny_cfg, tmp_path, {f'method.{key}': parts})


@pytest.mark.parametrize('key, part', [
    ('weight_fusion', WeightsAfterTheStep),
    ('label_completion', LabelsAsTheyAre),
])  # yapf: disable
def test_part_that_changes_nothing_is_fine_tuning(run, tiny_cfg, tmp_path,
                                                  monkeypatch, key, part):
    monkeypatch.setitem(MODELS.module_dict, part.__name__, part)
    assert_is_fine_tuning(run, tiny_cfg, tmp_path,
                          {f'method.{key}': dict(type=part.__name__)})
    # Or it would change nothing for want of being asked.
    assert part.calls > 0


def assert_is_fine_tuning(run: Callable, tiny_cfg: Callable, work_dir: Path,
                          options: dict) -> None:
    """Train two steps with a part and compare the weights to the bit."""
    run_steps(tiny_cfg(work_dir, 'finetune', **STEPS, **options), steps=[0, 1])
    assert_same_weights(state(work_dir, 1), state(run('finetune'), 1))
