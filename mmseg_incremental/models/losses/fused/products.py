"""Products with a band that leave its rows with the threads they are with.

Functions of single elements give every thread a run of rows. A product that
divides the columns instead has each thread read what others have written.
Where they have no cache in common, as on processors of several dies, that
takes longer than the arithmetic.
"""
import torch
from torch import Tensor

from .bands import Workspace


def num_runs(like: Tensor, num_rows: int) -> int:
    """Number of runs of rows that a product is divided into.

    Args:
        like (Tensor): A tensor on the device.
        num_rows (int): Rows of the band.

    Returns:
        int: The number of threads, or 1 where the rows are not divided evenly
        or not by threads of a CPU.
    """
    threads = torch.get_num_threads() if like.device.type == 'cpu' else 1
    return 1 if num_rows % threads else threads


def spread_over_rows(weight: Tensor, samples: Tensor, out: Tensor) -> Tensor:
    """Multiply from the left, ``weight @ samples``.

    Args:
        weight (Tensor): Of each sample in each row, [rows, h].
        samples (Tensor): Of shape [h, N].
        out (Tensor): Where to write it, [rows, N], contiguous.

    Returns:
        Tensor: ``out``.
    """
    runs = num_runs(out, len(out))
    if runs == 1:
        return torch.mm(weight, samples, out=out)
    torch.bmm(
        weight.unflatten(0, (runs, -1)),
        samples.expand(runs, -1, -1),
        out=out.unflatten(0, (runs, -1)))
    return out


def gather_from_rows(weight: Tensor, band: Tensor, space: Workspace) -> Tensor:
    """Multiply from the left by the transpose, ``weight.t() @ band``.

    Args:
        weight (Tensor): Of each sample in each row, [rows, h].
        band (Tensor): Of shape [rows, N], contiguous.
        space (Workspace): Where to write it.

    Returns:
        Tensor: Of shape [h, N].
    """
    runs = num_runs(band, len(band))
    out = space.take('runs', runs, weight.size(1), band.size(1))
    if runs == 1:
        return torch.mm(weight.t().contiguous(), band, out=out[0])
    torch.bmm(
        weight.unflatten(0, (runs, -1)).transpose(1, 2).contiguous(),
        band.unflatten(0, (runs, -1)),
        out=out)
    return out.sum(dim=0)
