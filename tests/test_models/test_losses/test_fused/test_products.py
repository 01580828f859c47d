import subprocess
import sys

import pytest
import torch

from mmseg_incremental.models.losses.fused import products
from mmseg_incremental.models.losses.fused.products import compress, multiply


def draw_matrix(rows, columns):
    """Nearly empty, and a part of a larger one, as bands have it."""
    generator = torch.Generator().manual_seed(rows)
    matrix = torch.randn(
        rows + 2, columns + 2, generator=generator, dtype=torch.float64)
    return (matrix * (matrix > 0.8))[1:-1, 1:-1]


@pytest.mark.parametrize('has_mkl', [True, False])
@pytest.mark.parametrize('rows, columns', [(1, 1), (4, 3), (7, 9)])
def test_products(rows, columns, has_mkl, monkeypatch):
    monkeypatch.setattr(torch.backends.mkl, 'is_available', lambda: has_mkl)
    matrix = draw_matrix(rows, columns)
    for one in (matrix, matrix.t()):
        dense = torch.arange(one.size(1) * 5.).view(-1, 5).double()
        # Whatever was left in the array is not read.
        out = torch.full((one.size(0), 5), torch.nan, dtype=torch.float64)
        compressed = compress(one)
        assert compressed.layout == (
            torch.sparse_csr if has_mkl else torch.strided)
        assert multiply(compressed, dense, out) is out
        expected = (one[:, :, None] * dense).sum(dim=1)
        torch.testing.assert_close(out, expected)


def test_no_warning():
    """PyTorch warns once a process, so that this one may have had it."""
    code = (f'import runpy, torch; compress = runpy.run_path('
            f'{products.__file__!r})["compress"]; compress(torch.eye(3))')
    done = subprocess.run([sys.executable, '-c', code],
                          capture_output=True,
                          text=True,
                          check=True)
    assert 'Sparse' not in done.stderr
