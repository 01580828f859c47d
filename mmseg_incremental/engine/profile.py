"""Where the time of a run goes."""
import json
import os.path as osp
import time
from typing import Dict

import torch
from mmengine.config import Config
from mmengine.device import is_cuda_available
from mmengine.dist import is_main_process
from mmengine.utils import ManagerMixin
from prettytable import PrettyTable

from mmseg_incremental.evaluation.results_io import write_atomically

PROFILE_FILE = 'profile.json'
# What a run is for; all other phases are what it costs beside that.
WORK = ('iterations', 'evaluation: forward')


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


def save_profile(cfg: Config, num_steps: int) -> None:
    """Print the table of a run that is profiled and keep its numbers.

    Args:
        cfg (Config): Config of the run.
        num_steps (int): Number of steps that were asked for.
    """
    if not cfg.get('profile', False) or not is_main_process():
        return
    phases = Profile.get_instance(cfg.work_dir).to_dict()
    path = osp.join(cfg.work_dir, PROFILE_FILE)
    content = dict(num_steps=num_steps, phases=phases)
    write_atomically(f'{json.dumps(content, indent=2)}\n'.encode(), path)
    print(profile_table(phases, num_steps))
    print(f'Profile: {path}')


def profile_table(phases: Dict[str, dict], num_steps: int) -> str:
    """A row a phase, what remains beside iterations and forward passes last.

    Args:
        phases (dict[str, dict]): What :meth:`Profile.to_dict` returned.
        num_steps (int): Number of steps of the run.

    Returns:
        str: The table.
    """
    table = PrettyTable(['phase', 'seconds', 'times', 's a step', '%'])
    table.align = 'r'
    table.align['phase'] = 'l'
    total = sum(phase['seconds'] for phase in phases.values())
    rows = [(name, phase['seconds'], phase['times'])
            for name, phase in phases.items()]
    beside = sum(seconds for name, seconds, _ in rows if name not in WORK)
    ends = [('all', total, ''),
            ('beside iterations and forward passes', beside, '')]
    for index, (name, seconds, times) in enumerate(rows + ends):
        table.add_row([
            name, f'{seconds:.2f}', times, f'{seconds / num_steps:.2f}',
            f'{100 * seconds / total:.1f}'
        ],
                      divider=index == len(rows) - 1)
    return table.get_string()
