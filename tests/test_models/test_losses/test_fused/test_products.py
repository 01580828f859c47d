import pytest
import torch

from mmseg_incremental.models.losses.fused.bands import Workspace
from mmseg_incremental.models.losses.fused.products import (gather_from_rows,
                                                            num_runs,
                                                            spread_over_rows)


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def draw(*shape):
    generator = torch.Generator().manual_seed(len(shape) + shape[0])
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize('num_rows', [1, 4, 6])
def test_products(threads, num_rows):
    # A part of a larger matrix, as bands have it.
    weight = draw(num_rows + 2, 5)[1:-1, 1:4]
    samples, band = draw(3, 8), draw(num_rows, 8)
    out = torch.empty_like(band)
    assert spread_over_rows(weight, samples, out) is out
    torch.testing.assert_close(out, (weight[:, :, None] * samples).sum(1))
    gathered = gather_from_rows(weight, band, Workspace(band))
    expected = (weight[:, :, None] * band[:, None]).sum(0)
    torch.testing.assert_close(gathered, expected)


def test_runs(threads):
    assert num_runs(torch.empty(0), 6) == threads
    assert num_runs(torch.empty(0), 7) == 1
    assert num_runs(torch.empty(0, device='meta'), 6) == 1
