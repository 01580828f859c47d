import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmseg.registry import HOOKS

from mmseg_incremental.engine import run_steps
from mmseg_incremental.engine.steps import evaluate_steps
from mmseg_incremental.errors import IncrementalConfigError

# A checkpoint at every iteration, and a learning rate that ends at no zero.
OPTIONS = {
    'num_panel_images': 0,
    'default_hooks.checkpoint.interval': 1,
    'incremental_step.train_cfg.max_iters': 4,
    'incremental_step.param_scheduler.0.end': 6
}


class Interruption(Exception):
    """Stands for a power cut."""


@HOOKS.register_module()
class InterruptHook(Hook):
    """Stop a step after some iterations, their checkpoints saved.

    Args:
        after (int): Number of iterations.
        step (int): The step. Defaults to 1.
    """

    priority = 'LOWEST'

    def __init__(self, after: int, step: int = 1) -> None:
        self.after = after
        self.step = f'step_{step}'

    def after_train_iter(self, runner, batch_idx, *args, **kwargs) -> None:
        if runner.iter + 1 == self.after and self.step in runner.work_dir:
            raise Interruption


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the finished run, moved elsewhere."""
    work_dir = tmp_path / 'moved'
    shutil.copytree(finished.work_dir, work_dir)
    return work_dir


def state(path: Path) -> dict:
    return torch.load(path, weights_only=True)['state_dict']


def assert_equal_weights(ours: Path, theirs: Path) -> None:
    ours, theirs = state(ours), state(theirs)
    assert list(ours) == list(theirs)
    different = [k for k in ours if not torch.equal(ours[k], theirs[k])]
    assert not different


def times(work_dir: Path, name: str) -> list:
    return [p.stat().st_mtime_ns for p in sorted(work_dir.rglob(name))]


def test_finished_steps_stay(finished, tiny_cfg, run):
    before = times(run, 'final.pth'), times(run / 'step_1', 'results.json')
    shutil.rmtree(run / 'step_2')
    results = run_steps(tiny_cfg(run), resume=True)
    after = times(run, 'final.pth')[:2], times(run / 'step_1', 'results.json')
    assert after == (before[0][:2], before[1])
    # From the moved folder, step 2 came out as before.
    assert_equal_weights(run / 'step_2' / 'final.pth',
                         finished.work_dir / 'step_2' / 'final.pth')
    assert results['complete'] is True
    assert results['steps'][2]['iou'] == finished.results['steps'][2]['iou']


def test_missing_evaluation_is_made_up_for(finished, tiny_cfg, run):
    record = run / 'step_1' / 'results.json'
    record.unlink()
    before = times(run, 'final.pth')
    results = run_steps(tiny_cfg(run), resume=True)
    assert times(run, 'final.pth') == before
    assert results['steps'] == finished.results['steps']
    assert json.loads(record.read_text()) == results['steps'][1]


def test_nothing_is_overwritten_without_resume(tiny_cfg, run):
    before = {p: p.stat().st_mtime_ns for p in run.rglob('*')}
    with pytest.raises(IncrementalConfigError, match='exists already'):
        run_steps(tiny_cfg(run))
    assert {p: p.stat().st_mtime_ns for p in run.rglob('*')} == before


@pytest.mark.parametrize('method', ['mib', 'plop', 'rw', 'ewf'])
def test_interrupted_step_goes_on(tiny_cfg, tmp_path, method):
    """Where no augmentation is random the weights are the same to the bit.

    MMEngine restores weights, optimizer, schedule and the position in the
    data; the state of random generators starts anew.
    """
    options = dict(OPTIONS, method=method)
    options['model.decode_head.dropout_ratio'] = 0
    options['train_dataloader.dataset.pipeline.2.prob'] = 0.0
    whole, cut = tmp_path / 'whole', tmp_path / 'cut'
    run_steps(tiny_cfg(whole, **options), steps=[0])
    shutil.copytree(whole, cut)
    run_steps(tiny_cfg(whole, **options), steps=[1])

    hook = dict(type='InterruptHook', after=2)
    with pytest.raises(Interruption):
        run_steps(tiny_cfg(cut, custom_hooks=[hook], **options), steps=[1])
    assert not (cut / 'step_1' / 'final.pth').exists()
    seconds = torch.load(
        cut / 'step_1' / 'iter_2.pth',
        weights_only=False)['meta']['incremental']['train_seconds']
    assert seconds > 0
    # An absolute path is in last_checkpoint.
    cut = cut.rename(tmp_path / 'moved')
    results = run_steps(tiny_cfg(cut, **options), steps=[1], resume=True)
    assert_equal_weights(cut / 'step_1' / 'final.pth',
                         whole / 'step_1' / 'final.pth')
    for file, owner in (('importance.pth', 'rw'), ('label_completion.json',
                                                   'plop')):
        ours, theirs = cut / 'step_1' / file, whole / 'step_1' / file
        assert ours.exists() == theirs.exists() == (method == owner)
        assert not ours.exists() or ours.read_bytes() == theirs.read_bytes()
    assert results['steps'][1]['train_seconds'] > seconds

    lines = []
    for path in sorted(cut.glob('step_1/2*/vis_data/scalars.json')):
        lines += [json.loads(x) for x in path.read_text().splitlines()]
    reference = next(whole.glob('step_1/2*/vis_data/scalars.json'))
    expected = [json.loads(x) for x in reference.read_text().splitlines()]
    assert [line['step'] for line in lines] == [1, 2, 3, 4]
    for key in ('lr', 'loss', 'decode.loss_ce'):
        assert [x[key] for x in lines] == [x[key] for x in expected]


def test_last_iteration_done_but_not_published(tiny_cfg, tmp_path):
    hook = dict(type='InterruptHook', after=3, step=0)
    with pytest.raises(Interruption):
        run_steps(
            tiny_cfg(tmp_path, custom_hooks=[hook], **OPTIONS), steps=[0])
    run_steps(tiny_cfg(tmp_path, **OPTIONS), steps=[0], resume=True)
    last = torch.load(tmp_path / 'step_0' / 'iter_3.pth', weights_only=False)
    for key, value in state(tmp_path / 'step_0' / 'final.pth').items():
        assert torch.equal(value, last['state_dict'][key])


def test_evaluating_again(finished, tiny_cfg, run):
    (run / 'step_1' / 'results.json').unlink()
    tables = evaluate_steps(tiny_cfg(run, num_panel_images=0), steps=[1])
    record = json.loads((run / 'step_1' / 'results.json').read_text())
    assert record == finished.results['steps'][1]
    assert '18-1 overlapped' in tables
    results = json.loads((run / 'results.json').read_text())
    assert results == finished.results


def test_evaluating_another_checkpoint(finished, tiny_cfg, run):
    final = str(run / 'step_1' / 'final.pth')
    cfg = tiny_cfg(run, num_panel_images=0)
    before = times(run, 'results.json')
    text = evaluate_steps(cfg, steps=[1], checkpoint=final)
    miou = finished.results['steps'][1]['mIoU']
    assert f'mIoU: {miou:.2f}' in text.splitlines()
    assert times(run, 'results.json') == before
    with pytest.raises(IncrementalConfigError, match='but step 2 has'):
        evaluate_steps(cfg, steps=[2], checkpoint=final)
    with pytest.raises(IncrementalConfigError, match='the one step it bel'):
        evaluate_steps(cfg, checkpoint=final)


def test_evaluating_without_older_checkpoints(finished, tiny_cfg, run):
    """Checkpoints of early steps may be deleted to save space."""
    (run / 'step_0' / 'final.pth').unlink()
    evaluate_steps(tiny_cfg(run, num_panel_images=0), steps=[2])
    results = json.loads((run / 'results.json').read_text())
    assert results['steps'] == finished.results['steps']
    with pytest.raises(IncrementalConfigError, match='step_0/final.pth does'):
        evaluate_steps(tiny_cfg(run), steps=[0])


def test_step_trained_anew_is_evaluated_anew(finished, tiny_cfg, run):
    for step in (1, 2):
        (run / f'step_{step}' / 'final.pth').unlink()
    record = run / 'step_1' / 'results.json'
    before = record.stat().st_mtime_ns
    run_steps(tiny_cfg(run), steps=[1])
    assert record.stat().st_mtime_ns > before


def test_another_checkpoint_leaves_the_panel_alone(finished, tiny_cfg, run):
    final = str(run / 'step_1' / 'final.pth')
    before = times(run, '*.png')
    assert before
    evaluate_steps(tiny_cfg(run), steps=[1], checkpoint=final)
    assert times(run, '*.png') == before


def test_start_from_another_architecture_is_refused(tiny_cfg, tmp_path):
    options = dict(OPTIONS, num_panel_images=0)
    run_steps(tiny_cfg(tmp_path, method='finetune', **options), steps=[0])
    cfg = tiny_cfg(tmp_path, method='finetune', **options)
    cfg.model.backbone.depth = 34
    with pytest.raises(IncrementalConfigError, match='step before does not'):
        run_steps(cfg, steps=[1])
