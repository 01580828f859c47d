"""Where the time of a run goes.

Every moment belongs to one of these phases, in the order of a run:

- checks: of config, data sets and base checkpoint
- building: configs, data sets, model and optimizer of a step
- loading: reading the weights to start from
- preparation: teacher, and what a method needs of the data first
- first batch: until the data loader has one
- first iteration: with all that devices and libraries do once
- iterations, waiting for data, validation, checkpoints
- end of training: fused weights, importances
- end, release: of the Runner and its workers
- evaluation: the same again, with inputs (moved and normalised), forward
  (the segmentor up to its label map) and metric
- results, report: tables and pictures

In a distributed run they are those of rank 0, which waits for the others at
the end of evaluation, in metric.
"""
import json
import os.path as osp
import time
from typing import Dict

import torch
from mmengine.config import Config
from mmengine.device import is_cuda_available
from mmengine.dist import is_main_process
from mmengine.fileio import load
from mmengine.utils import ManagerMixin
from prettytable import PrettyTable

from mmseg_incremental.evaluation.results_io import write_atomically

PROFILE_FILE = 'profile.json'
# What a run is for; all other phases are what it costs beside that.
WORK = ('first iteration', 'iterations', 'validation', 'evaluation: forward')


class Profile(ManagerMixin):
    """A clock that gives the time since its last stop to a phase.

    Every moment of a run belongs to one phase, so that the phases add up to
    the run. On CUDA it waits for the device at every stop.

    Args:
        name (str): Name of the instance, the work dir of the run.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.start()

    def start(self) -> None:
        """Forget what was measured and start at zero."""
        self.seconds: Dict[str, float] = {}
        self.stops: Dict[str, int] = {}
        self._last = time.perf_counter()

    def stop(self, phase: str) -> None:
        """End a phase.

        Args:
            phase (str): What has happened since the last stop.
        """
        if is_cuda_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self.stops[phase] = self.stops.get(phase, 0) + 1
        self._last = now

    def to_dict(self) -> Dict[str, dict]:
        """What has been measured.

        Returns:
            dict[str, dict]: Seconds and number of stops of every phase, in
            the order in which the phases came first.
        """
        return {
            phase: dict(seconds=seconds, times=self.stops[phase])
            for phase, seconds in self.seconds.items()
        }


def start_profile(cfg: Config) -> None:
    """Start the clock of a run that wants one.

    Args:
        cfg (Config): Config of the run; ``cfg.profile`` says whether.
    """
    if cfg.get('profile', False):
        Profile.get_instance(cfg.work_dir).start()


def stop_phase(cfg: Config, phase: str) -> None:
    """End a phase of a run that is profiled.

    Args:
        cfg (Config): Config of the run.
        phase (str): What has happened since the last stop.
    """
    if cfg.get('profile', False):
        Profile.get_instance(cfg.work_dir).stop(phase)


def save_profile(cfg: Config) -> None:
    """Print the table of a run that is profiled and keep its numbers.

    They are added to those of an earlier part of the run.

    Args:
        cfg (Config): Config of the run.
    """
    if not cfg.get('profile', False) or not is_main_process():
        return
    phases = Profile.get_instance(cfg.work_dir).to_dict()
    if 'checks' not in phases:
        # The run was refused and must leave nothing behind.
        return
    path = osp.join(cfg.work_dir, PROFILE_FILE)
    if osp.isfile(path):
        phases = _add(load(path)['phases'], phases)
    content = json.dumps(dict(phases=phases), indent=2)
    write_atomically(f'{content}\n'.encode(), path)
    print(profile_table(phases))
    print(f'Profile: {path}')


def _add(earlier: Dict[str, dict], phases: Dict[str, dict]) -> Dict[str, dict]:
    nothing = dict(seconds=0.0, times=0)
    return {
        name: {
            key:
            earlier.get(name, nothing)[key] + phases.get(name, nothing)[key]
            for key in nothing
        }
        for name in [*earlier, *(n for n in phases if n not in earlier)]
    }


def profile_table(phases: Dict[str, dict]) -> str:
    """A row a phase, what remains beside the work itself last.

    Args:
        phases (dict[str, dict]): What :meth:`Profile.to_dict` returned.

    Returns:
        str: The table. A step is a Runner that trains or, where none does,
        one that evaluates.
    """
    num_steps = max([1] + [
        phases[name]['times']
        for name in ('building', 'evaluation: building') if name in phases
    ])
    table = PrettyTable(['phase', 'seconds', 'times', 's a step', '%'])
    table.align = 'r'
    table.align['phase'] = 'l'
    rows = [(name, phase['seconds'], phase['times'])
            for name, phase in phases.items()]
    total = sum(seconds for _, seconds, _ in rows)
    beside = sum(seconds for name, seconds, _ in rows if name not in WORK)
    ends = [('all', total, ''), ('all but ' + ', '.join(WORK), beside, '')]
    for index, (name, seconds, times) in enumerate(rows + ends):
        table.add_row([
            name, f'{seconds:.2f}', times, f'{seconds / num_steps:.2f}',
            f'{100 * seconds / total:.1f}'
        ],
                      divider=index == len(rows) - 1)
    return table.get_string()
