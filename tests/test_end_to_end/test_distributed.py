import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Sequence, Tuple

import pytest
import torch

from mmseg_incremental.engine.steps import evaluate_steps

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'tests' / 'configs'


def free_port() -> int:
    try:
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            return probe.getsockname()[1]
    except OSError as error:
        pytest.skip(f'no local network: {error}')


def run(command: Sequence[str], seconds: int) -> Tuple[int, str, str]:
    """Run a command; its children end with it, also when time is up."""
    process = subprocess.Popen(
        command,
        env=dict(os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='-1'),
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True)
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out, err


def train_by_two(config: Path, work_dir: Path, shapes_root: Path, *args:
                 str) -> str:
    """Run ``tools/train.py`` by two processes and return what it printed."""
    if not torch.distributed.is_gloo_available():
        pytest.skip('this build of torch has no gloo')
    code, out, err = run([
        sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2',
        '--master_addr', '127.0.0.1', '--master_port',
        str(free_port()),
        str(ROOT / 'tools' / 'train.py'),
        str(config), '--launcher', 'pytorch', '--steps', '0-1', '--work-dir',
        str(work_dir), *args, '--cfg-options', f'data_root={shapes_root}',
        'train_dataloader.batch_size=2'
    ], 240)
    assert code == 0, out[-2000:] + err[-3000:]
    return out


@pytest.mark.slow
def test_two_processes(tiny_cfg, shapes_root, tmp_path):
    work_dir = tmp_path / 'work'
    out = train_by_two(CONFIGS / 'tiny_shapes.py', work_dir, shapes_root)
    # The table is printed once.
    assert out.count('Results: ') == 1
    results = json.loads((work_dir / 'results.json').read_text())
    assert [record['step'] for record in results['steps']] == [0, 1]
    for step, images in ((0, 24), (1, 3)):
        assert results['steps'][step]['num_train_images'] == images
        folder = work_dir / f'step_{step}'
        # One run, though two processes: one log folder, one final checkpoint.
        assert len(list(folder.glob('2*'))) == 1
        assert len(list(folder.rglob('final.pth'))) == 1
        weights = torch.load(folder / 'final.pth', weights_only=True)
        assert not [k for k in weights['state_dict'] if 'module.' in k]
    assert len(list((work_dir / 'step_1' / 'panel').iterdir())) == 5
    assert 'panel.png' in {p.name for p in (work_dir / 'report').iterdir()}
    # Every image is counted once, as by a single process.
    evaluate_steps(tiny_cfg(work_dir), steps=[0, 1])
    again = json.loads((work_dir / 'results.json').read_text())
    assert again == results


@pytest.mark.slow
def test_two_processes_resume_from_a_base_checkpoint(shapes_root, tmp_path):
    config = CONFIGS / 'tiny_shapes_auxiliary.py'
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    train_by_two(config, whole, shapes_root)
    # Step 1 as a power cut after its first iteration leaves it.
    step = parts / 'step_1'
    step.mkdir(parents=True)
    shutil.copy(whole / 'step_1' / 'iter_1.pth', step)
    (step / 'last_checkpoint').write_text(str(step / 'iter_1.pth'))
    train_by_two(config, parts, shapes_root, '--resume', '--base-checkpoint',
                 str(whole / 'step_0' / 'final.pth'))
    weights, resumed = (
        torch.load(root / 'step_1' / 'final.pth')['state_dict']
        for root in (whole, parts))
    assert weights['auxiliary_head.conv_seg.weight'].shape[0] == 20
    assert list(weights) == list(resumed)
    for key, value in weights.items():
        assert torch.equal(value, resumed[key]), key
    first, second = (
        json.loads((root / 'results.json').read_text())['steps'][1]
        for root in (whole, parts))
    assert first['iou'] == second['iou']


@pytest.mark.slow
def test_two_processes_with_every_kind_of_part(shapes_root, tmp_path):
    train_by_two(CONFIGS / 'tiny_shapes_all_parts.py', tmp_path, shapes_root)
    results = json.loads((tmp_path / 'results.json').read_text())
    assert results['method'] == 'all_parts'
    before, after = (
        torch.load(tmp_path / f'step_{step}' / 'final.pth')['state_dict']
        for step in (0, 1))
    # Fixed for the old classes, but for what the background shares with the
    # new one, and averaged with itself.
    key = 'decode_head.conv_seg.weight'
    assert torch.allclose(after[key][:19], before[key], atol=1e-6)
    assert not torch.allclose(after[key][19], before[key][0], atol=1e-6)
    thresholds = json.loads(
        (tmp_path / 'step_1' / 'label_completion.json').read_text())
    assert len(thresholds['thresholds']) == 19
    importance = torch.load(tmp_path / 'step_1' / 'importance.pth')
    assert set(importance) == {
        'ElasticWeightConsolidation', 'PathIntegral', 'RiemannianWalk'
    }
    # Two batches an iteration on two ranks are still one iteration.
    assert {state['iteration'] for state in importance.values()} == {2}
