"""Logits upsampled to the size of the labels, a band of rows at a time.

Bilinear interpolation is separable: ``up(z) = rows @ z @ columns.T`` with a
matrix for each direction. A band of the result needs a band of the matrix
``rows``, and the gradient goes back through the transposed matrices, so that
logits of the size of the labels never exist as a whole.
"""
from functools import lru_cache
from typing import Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils import full_precision
from .bands import Band, Workspace


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
