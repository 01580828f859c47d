"""A batch cut into bands of a few rows, which stay in the cache."""
from typing import Dict, Iterator, NamedTuple, Sequence

import torch
from torch import Tensor

# Numbers in the largest array of a band: few enough to stay in a CPU's cache
# from one pass over it to the next, enough to outweigh the calls. A GPU wants
# more work a call.
BAND_NUMEL = 2**21
BAND_NUMEL_GPU = 2**24


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


class Workspace:
    """Arrays that one band after the other uses.

    Fresh memory for every band would cost more than the arithmetic on it.

    Args:
        like (Tensor): Tensor of the wanted type and device.
    """

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._arrays: Dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """An array with whatever the band before left in it.

        Args:
            name (str): Which array.
            *shape (int): Its shape.

        Returns:
            Tensor: Of that shape, contiguous.
        """
        numel = torch.Size(shape).numel()
        array = self._arrays.get(name)
        if array is None or array.numel() < numel:
            array = self._arrays[name] = self._like.new_empty(numel)
        return array[:numel].view(shape)
