"""A batch cut into bands of rows."""
import threading
from typing import Dict, Iterator, NamedTuple, Sequence, Tuple

import torch
from torch import Tensor

# Numbers in the largest array of a band: few enough for the last cache of a
# CPU, enough to outweigh the calls. A GPU wants more work a call.
BAND_NUMEL = 2**21
BAND_NUMEL_GPU = 2**24
Arrays = Dict[Tuple[str, torch.dtype], Tensor]


class Band(NamedTuple):
    """Rows of one image of a batch.

    Args:
        image (int): Position in the batch.
        start (int): First row.
        stop (int): The row behind the last one.
    """

    image: int
    start: int
    stop: int

    def of(self, tensor: Tensor) -> Tensor:
        """The band of a map, [B, H, W] -> [rows, W]."""
        return tensor[self.image, self.start:self.stop]


def cut_into_bands(logits: Tensor, size: Sequence[int]) -> Iterator[Band]:
    """Cut a batch into bands of the size that suits the device.

    Args:
        logits (Tensor): Output of a head, [B, C, h, w].
        size (Sequence[int]): Height and width of the labels.

    Yields:
        Band: Every row of every image once, in order.
    """
    height, width = size
    numel = BAND_NUMEL if logits.device.type == 'cpu' else BAND_NUMEL_GPU
    most = max(1, numel // (logits.size(1) * width))
    # Bands of one height: none is left with hardly any work.
    count = -(-height // most)
    rows = -(-height // count)
    for image in range(logits.size(0)):
        for start in range(0, height, rows):
            yield Band(image, start, min(start + rows, height))


class _Kept(threading.local):
    """Arrays of a thread: bands of two threads are not in each other's way."""

    def __init__(self) -> None:
        self.arrays: Arrays = {}


_kept = _Kept()


class Workspace:
    """Arrays that one band after the other uses.

    On a CPU they stay for the next batch, a few tens of MiB a thread and
    type: the system clears fresh memory page by page, which may take as long
    as the arithmetic on it. The allocator of a GPU keeps its memory itself.

    Args:
        like (Tensor): Tensor of the wanted type and device.
    """

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._arrays = _kept.arrays if like.device.type == 'cpu' else {}

    def take(self, name: str, *shape: int) -> Tensor:
        """An array with whatever was left in it.

        Args:
            name (str): Which array, one name for each that is in use at a
                time.
            *shape (int): Its shape.

        Returns:
            Tensor: Of that shape, contiguous.
        """
        key, numel = (name, self._like.dtype), torch.Size(shape).numel()
        array = self._arrays.get(key)
        if array is None or array.numel() < numel:
            # One of inference mode could not be written to in training.
            with torch.inference_mode(False):
                array = self._arrays[key] = torch.empty(
                    numel, dtype=self._like.dtype, device=self._like.device)
        return array[:numel].view(shape)
