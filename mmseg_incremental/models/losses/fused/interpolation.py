"""Logits upsampled to the size of the labels, a band of rows at a time.

Bilinear interpolation is separable: ``up(z) = rows @ z @ columns.T`` with a
matrix for each direction. A band of the result needs a band of the matrix
``rows``, and the gradient goes back through the transposed matrices, so that
logits of the size of the labels never exist as a whole.
"""
from functools import lru_cache
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils import full_precision
from .bands import Band, Workspace
from .products import compress, multiply


class BandMatrix(NamedTuple):
    """The part of the matrix of an interpolation that makes a band.

    Args:
        samples (slice): The samples that the band is made of.
        spread (Tensor): Weight of each of them in each row, [rows, samples].
        gather (Tensor): Its transpose, [samples, rows].
    """

    samples: slice
    spread: Tensor
    gather: Tensor


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
        unit = torch.eye(source, dtype=torch.float64, device='cpu')
        matrix = F.interpolate(
            unit[None],
            size=target,
            mode='linear',
            align_corners=align_corners)[0].t()
        is_used = (matrix != 0).int()
        self._first = is_used.argmax(dim=1).tolist()
        self._last = (source - is_used.flip(1).argmax(dim=1)).tolist()
        self.matrix = matrix.to(device, dtype)
        self._parts: Dict[Tuple[int, int], BandMatrix] = {}

    def part(self, start: int, stop: int) -> BandMatrix:
        """The part of the matrix that makes a band.

        Args:
            start (int): First row of the band.
            stop (int): The row behind its last one.

        Returns:
            BandMatrix: The part, kept for the next image.
        """
        if (start, stop) not in self._parts:
            samples = slice(
                min(self._first[start:stop]), max(self._last[start:stop]))
            matrix = self.matrix[start:stop, samples]
            self._parts[start, stop] = BandMatrix(samples, compress(matrix),
                                                  compress(matrix.t()))
        return self._parts[start, stop]


# One size of crops serves a whole run.
_interpolation = lru_cache(maxsize=64)(Interpolation)


class BandedLogits:
    """Logits of a batch that are read in bands of the size of the labels.

    Args:
        logits (Tensor): Output of a head, [B, C, h, w].
        size (Sequence[int]): Height and width of the labels.
        align_corners (bool): As of the head.
        name (str): Whose, for the arrays that are in use beside those of
            another head.
    """

    def __init__(self, logits: Tensor, size: Sequence[int],
                 align_corners: bool, name: str) -> None:
        self.logits = logits.detach()
        self.size = size
        self.name = name
        self.like = full_precision(logits.new_empty(0))
        self.space = Workspace(self.like)
        self.rows: Optional[Interpolation] = None
        if tuple(logits.shape[2:]) != tuple(size):
            self.rows, self.columns = (
                _interpolation(source, target, align_corners, self.like.dtype,
                               self.like.device)
                for source, target in zip(logits.shape[2:], size))

    def read(self, band: Band) -> Tensor:
        """Upsample a band, less what is the same for all channels.

        The highest logit of each sample is subtracted, which is cheaper than
        that of each pixel. It changes no probability, and none of the results
        is above 0.

        Args:
            band (Band): Which one.

        Returns:
            Tensor: Of shape [rows, C, W], overwritten by the next call.
        """
        logits = self.logits[band.image].transpose(0, 1)
        num_rows, num_classes = band.stop - band.start, logits.size(1)
        out = self.space.take(self.name, num_rows, num_classes, self.size[1])
        if self.rows is None:
            samples = logits[band.start:band.stop].to(self.like)
            return torch.sub(samples, samples.amax(1, keepdim=True), out=out)
        part = self.rows.part(band.start, band.stop)
        narrow = logits[part.samples].to(self.like)
        narrow = narrow - narrow.amax(dim=1, keepdim=True)
        wide = self.space.take('wide', *narrow.shape[:2], self.size[1])
        torch.matmul(narrow, self.columns.matrix.t(), out=wide)
        multiply(part.spread, wide.flatten(1), out.flatten(1))
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
        part = self.rows.part(band.start, band.stop)
        wide = self.space.take('wide', part.gather.size(0),
                               *band_gradient.shape[1:])
        multiply(part.gather, band_gradient.flatten(1), wide.flatten(1))
        gradient[part.samples] += wide @ self.columns.matrix
