"""What the training of a step takes: time and memory."""
import sys
import time
from typing import Dict, Optional

import torch
from mmengine.device import is_cuda_available
from mmengine.logging import MessageHub

try:
    import resource
except ImportError:  # Windows
    resource = None


class TrainingCost:
    """Clock and memory gauge of one step, which go on after resuming.

    On CUDA the memory is the largest that tensors took on the device of this
    rank during the step; else the largest that the process took since its
    start, without the workers of data loaders.
    """

    def __init__(self) -> None:
        self._before = dict(train_seconds=0.0, peak_memory_mb=None)
        self._started: Optional[float] = None
        self._cuda_bytes = 0

    def start(self, hub: MessageHub) -> None:
        """Begin, or go on with what an interrupted run has saved.

        Args:
            hub (MessageHub): The runner's, as its checkpoint has filled it.
        """
        for key in self._before:
            if key in hub.runtime_info:
                self._before[key] = hub.get_info(key)
        self._started = time.perf_counter()

    def observe(self) -> None:
        """Look at the memory; MMEngine resets the gauge when it logs."""
        if is_cuda_available():
            self._cuda_bytes = max(self._cuda_bytes,
                                   torch.cuda.max_memory_allocated())

    def read(self) -> Optional[Dict[str, Optional[float]]]:
        """The cost so far.

        Returns:
            dict[str, float | None], optional: 'train_seconds' and
            'peak_memory_mb', which is None where the system does not tell;
            None before the start.
        """
        if self._started is None:
            return None
        seconds = time.perf_counter() - self._started
        peaks = [self._peak_memory_mb(), self._before['peak_memory_mb']]
        peaks = [peak for peak in peaks if peak is not None]
        return dict(
            train_seconds=self._before['train_seconds'] + seconds,
            peak_memory_mb=max(peaks, default=None))

    def _peak_memory_mb(self) -> Optional[float]:
        if is_cuda_available():
            return self._cuda_bytes / 2**20
        if resource is None:
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Linux counts kilobytes, macOS bytes.
        return peak / (2**20 if sys.platform == 'darwin' else 2**10)
