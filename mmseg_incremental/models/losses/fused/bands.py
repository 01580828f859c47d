"""Logits upsampled to the size of the labels, a band of rows at a time.

Bilinear interpolation is separable: ``up(z) = rows @ z @ columns.T`` with a
matrix for each direction. A band of the result needs a band of the matrix
``rows``, and the gradient goes back through the transposed matrices, so that
logits of the size of the labels never exist as a whole.
"""
from functools import lru_cache
from typing import Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils import full_precision

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


class Interpolation:
    """Bilinear interpolation along one direction, as a matrix.

    Args:
        source (int): Number of samples to interpolate.
        target (int): Number of samples wanted.
        align_corners (bool): As in ``torch.nn.functional.interpolate``.
        dtype (torch.dtype): Type of the matrix.
        device (torch.device): Where it is wanted.
    """

    def __init__(self, source: int, target: int, align_corners: bool,
                 dtype: torch.dtype, device: torch.device) -> None:
        unit = torch.eye(source, dtype=torch.float64)
        matrix = F.interpolate(
            unit[None],
            size=target,
            mode='linear',
            align_corners=align_corners)[0].t()
        is_used = (matrix != 0).int()
        self._first = is_used.argmax(dim=1).tolist()
        self._last = (source - is_used.flip(1).argmax(dim=1)).tolist()
        self.matrix = matrix.to(device, dtype)

    def part(self, start: int, stop: int) -> Tuple[slice, Tensor]:
        """The part of the matrix that makes a band.

        Args:
            start (int): First row of the band.
            stop (int): The row behind its last one.

        Returns:
            tuple[slice, Tensor]: The samples the band is made of, and the
            weight of each of them in each row.
        """
        samples = slice(
            min(self._first[start:stop]), max(self._last[start:stop]))
        return samples, self.matrix[start:stop, samples]


# One size of crops serves a whole run.
_interpolation = lru_cache(maxsize=64)(Interpolation)


class BandedLogits:
    """Logits of a batch that are read in bands of the size of the labels.

    Args:
        logits (Tensor): Output of a head, [B, C, h, w].
        size (Sequence[int]): Height and width of the labels.
        align_corners (bool): As of the head.
    """

    def __init__(self, logits: Tensor, size: Sequence[int],
                 align_corners: bool) -> None:
        self.logits = logits.detach()
        self.size = size
        self.like = full_precision(logits.new_empty(0))
        self.space = Workspace(self.like)
        self.rows: Optional[Interpolation] = None
        if tuple(logits.shape[2:]) != tuple(size):
            self.rows, self.columns = (
                _interpolation(source, target, align_corners, self.like.dtype,
                               self.like.device)
                for source, target in zip(logits.shape[2:], size))

    def read(self, band: Band) -> Tensor:
        """Upsample a band.

        Args:
            band (Band): Which one.

        Returns:
            Tensor: Of shape [rows, C, W], overwritten by the next call.
        """
        logits = self.logits[band.image].transpose(0, 1)
        num_rows, num_classes = band.stop - band.start, logits.size(1)
        out = self.space.take('band', num_rows, num_classes, self.size[1])
        if self.rows is None:
            return out.copy_(logits[band.start:band.stop])
        samples, weight = self.rows.part(band.start, band.stop)
        narrow = logits[samples].to(self.like)
        wide = self.space.take('wide', *narrow.shape[:2], self.size[1])
        torch.matmul(narrow, self.columns.matrix.t(), out=wide)
        torch.mm(weight, wide.flatten(1), out=out.flatten(1))
        return out

    def pull_back(self, band: Band, band_gradient: Tensor,
                  gradient: Tensor) -> None:
        """Add what a band gives to the gradient of the logits.

        Args:
            band (Band): Which one.
            band_gradient (Tensor): Its gradient, [rows, C, W].
            gradient (Tensor): Gradient of the logits, [B, C, h, w], changed
                in place.
        """
        gradient = gradient[band.image].transpose(0, 1)
        if self.rows is None:
            gradient[band.start:band.stop] = band_gradient
            return
        samples, weight = self.rows.part(band.start, band.stop)
        num_rows, num_classes, _ = band_gradient.shape
        narrow = self.space.take('narrow', num_rows, num_classes,
                                 gradient.size(2))
        torch.mm(
            band_gradient.flatten(0, 1),
            self.columns.matrix,
            out=narrow.flatten(0, 1))
        pulled = weight.t().contiguous() @ narrow.flatten(1)
        gradient[samples] += pulled.view(-1, *gradient.shape[1:])
