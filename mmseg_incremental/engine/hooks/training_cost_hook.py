import sys
import time
from pathlib import Path
from typing import Any, Optional

import torch
from mmengine.device import is_cuda_available
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..device import device_name

try:
    import resource
except ImportError:  # Windows
    resource = None

GAUGE_OF_LINUX = Path('/proc/self/clear_refs')


@HOOKS.register_module()
class TrainingCostHook(Hook):
    """Say in each checkpoint what training the step has taken so far.

    ``meta['incremental']`` gets 'device', its name, and 'train_seconds' and
    'peak_memory_mb', which go on after resuming. On CUDA the memory is the
    most that tensors took on the device of rank 0. Else it is the most that
    the process had in the main memory, without the workers of data loaders:
    during the step on Linux, since its start on systems that cannot reset the
    gauge, and None on those that have none.
    """

    # Before LoggerHook (BELOW_NORMAL), which resets the gauge of CUDA, and
    # before StepCheckpointHook, which completes the meta data.
    priority = 'NORMAL'

    def __init__(self) -> None:
        self.seconds_before = 0.0
        self.peak_before: Optional[float] = None
        self.cuda_bytes = 0
        self.started: Optional[float] = None

    def before_train(self, runner: Runner) -> None:
        """Start the clock, which goes on where an interrupted run stopped.

        Args:
            runner (Runner): The runner of the step.
        """
        hub = runner.message_hub
        if 'train_seconds' in hub.runtime_info:
            self.seconds_before = hub.get_info('train_seconds')
            self.peak_before = hub.get_info('peak_memory_mb')
        _reset_gauge()
        self.started = time.perf_counter()

    def after_train_iter(self, runner: Runner, *args: Any,
                         **kwargs: Any) -> None:
        """Look at the memory.

        Args:
            runner (Runner): The runner of the step.
        """
        if is_cuda_available():
            self.cuda_bytes = max(self.cuda_bytes,
                                  torch.cuda.max_memory_allocated())

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add what the step has taken.

        Args:
            runner (Runner): The runner of the step.
            checkpoint (dict): The checkpoint about to be saved.
        """
        if self.started is None:
            return
        seconds = self.seconds_before + time.perf_counter() - self.started
        peaks = [
            peak for peak in (self._peak_memory_mb(), self.peak_before)
            if peak is not None
        ]
        cost = dict(
            train_seconds=seconds, peak_memory_mb=max(peaks, default=None))
        checkpoint['message_hub']['runtime_info'].update(cost)
        checkpoint['meta'].setdefault('incremental', {}).update(
            cost, device=device_name())

    def _peak_memory_mb(self) -> Optional[float]:
        if is_cuda_available():
            return self.cuda_bytes / 2**20
        if resource is None:
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Linux counts kilobytes, macOS bytes.
        return peak / (2**20 if sys.platform == 'darwin' else 2**10)


def _reset_gauge() -> None:
    """Forget the peak of what came before: evaluation, earlier steps."""
    if is_cuda_available():
        torch.cuda.reset_peak_memory_stats()
    elif GAUGE_OF_LINUX.exists():
        try:
            GAUGE_OF_LINUX.write_text('5')
        except OSError:
            # Containers may forbid it; the peak is then that of the process.
            pass
