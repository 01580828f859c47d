import json
import os
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
CONFIG = ROOT / 'tests' / 'configs' / 'tiny_shapes.py'


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


@pytest.mark.slow
def test_two_processes(tiny_cfg, shapes_root, tmp_path):
    if not torch.distributed.is_gloo_available():
        pytest.skip('this build of torch has no gloo')
    work_dir = tmp_path / 'work'
    code, out, err = run([
        sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2',
        '--master_addr', '127.0.0.1', '--master_port',
        str(free_port()),
        str(ROOT / 'tools' / 'train.py'),
        str(CONFIG), '--launcher', 'pytorch', '--steps', '0-1', '--work-dir',
        str(work_dir), '--cfg-options', f'data_root={shapes_root}',
        'train_dataloader.batch_size=2', 'train_cfg.max_iters=2'
    ], 240)
    assert code == 0, err[-3000:]
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
