"""Trainings that run beside each other, each in a process of its own."""
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from typing import List, NamedTuple, Optional, Sequence

import torch

from mmseg_incremental.errors import IncrementalConfigError


class Run(NamedTuple):
    """One training.

    Attributes:
        name (str): Name for the user.
        command (list[str]): What trains it.
        log (str): Where its output goes.
    """

    name: str
    command: List[str]
    log: str


def share_devices(parallel: int) -> 'Queue[Optional[str]]':
    """One entry a run at a time: the GPU it may see, None for all there is."""
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    count = torch.cuda.device_count()
    names = visible.split(',') if visible else list(map(str, range(count)))
    devices: 'Queue[Optional[str]]' = Queue(parallel)
    for index in range(parallel):
        devices.put(names[index % count] if count > 1 else None)
    return devices


def train(run: Run, devices: 'Queue[Optional[str]]') -> int:
    """Train in a process of its own.

    Args:
        run (Run): The training.
        devices (Queue): What :func:`share_devices` returned.

    Returns:
        int: Its exit code.
    """
    device = devices.get()
    env = dict(os.environ)
    if devices.maxsize > 1:
        # Each would take all cores, and be slower than one by one.
        cores = (os.cpu_count() or 1) // devices.maxsize
        env.setdefault('OMP_NUM_THREADS', str(max(1, cores)))
    if device is not None:
        env['CUDA_VISIBLE_DEVICES'] = device
    print(f'{run.name} starts, log: {run.log}', flush=True)
    try:
        with open(run.log, 'a', encoding='utf-8') as log:
            return subprocess.run(
                run.command, env=env, stdout=log, stderr=log).returncode
    finally:
        devices.put(device)


def train_all(groups: Sequence[Sequence[Run]], parallel: int) -> None:
    """Train group after group.

    Args:
        groups (Sequence[Sequence[Run]]): A group starts when the one
            before it is done.
        parallel (int): How many runs at a time.

    Raises:
        IncrementalConfigError: If a run fails; what runs beside it is
            finished before.
    """
    devices = share_devices(parallel)
    with ThreadPoolExecutor(parallel) as pool:
        for group in groups:
            codes = list(pool.map(lambda run: train(run, devices), group))
            failed = [run.log for run, code in zip(group, codes) if code]
            if failed:
                raise IncrementalConfigError(
                    f'{len(failed)} of {len(group)} runs failed; read '
                    f'{", ".join(failed)}, mend the cause and start the same '
                    'command again, which keeps what is finished.')
