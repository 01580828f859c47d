"""Products with the matrices of an interpolation, which are nearly empty.

A row that is interpolated has two entries. A sparse product takes a fraction
of the time of a dense one, and it divides the work of its threads by rows, as
functions of single elements do. One that divides columns has each thread read
what others have written: where they have no cache in common, as on processors
of several dies, that takes longer than the arithmetic.
"""
import warnings

import torch
from torch import Tensor


def compress(matrix: Tensor) -> Tensor:
    """Store a matrix in the way that is multiplied fastest.

    Args:
        matrix (Tensor): Few of its entries are not 0.

    Returns:
        Tensor: By compressed rows on a CPU where PyTorch has MKL, whose
        products are made for them; otherwise dense and contiguous.
    """
    if matrix.device.type != 'cpu' or not torch.backends.mkl.is_available():
        return matrix.contiguous()
    with warnings.catch_warnings():
        # PyTorch says once that few functions know such tensors.
        warnings.filterwarnings('ignore', 'Sparse CSR tensor support')
        return matrix.to_sparse_csr()


def multiply(matrix: Tensor, dense: Tensor, out: Tensor) -> Tensor:
    """Multiply from the left, ``matrix @ dense``.

    Args:
        matrix (Tensor): What :func:`compress` returned, [M, K].
        dense (Tensor): Of shape [K, N].
        out (Tensor): Where to write it, [M, N].

    Returns:
        Tensor: ``out``.
    """
    if matrix.layout == torch.strided:
        return torch.mm(matrix, dense, out=out)
    return torch.addmm(out, matrix, dense, beta=0, out=out)
