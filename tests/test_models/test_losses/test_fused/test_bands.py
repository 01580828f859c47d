from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mmseg_incremental.models.losses.fused import bands
from mmseg_incremental.models.losses.fused.bands import (Workspace,
                                                         cut_into_bands)


@pytest.mark.parametrize('height', [1, 7, 12])
def test_every_row_once(height, monkeypatch):
    monkeypatch.setattr(bands, 'BAND_NUMEL', 3 * 4 * 5)
    logits = torch.empty(2, 3, 2, 2)
    cut = list(cut_into_bands(logits, (height, 4)))
    rows = [(band.image, row) for band in cut
            for row in range(band.start, band.stop)]
    assert rows == [(image, row) for image in range(2)
                    for row in range(height)]


def test_arrays_stay_for_the_next_batch():
    like = torch.empty(0)
    first = Workspace(like).take('test', 2, 3)
    assert first.shape == (2, 3)
    smaller = Workspace(like).take('test', 5)
    assert smaller.data_ptr() == first.data_ptr()
    others = [
        Workspace(like).take('other', 5),
        Workspace(like.double()).take('test', 5),
        Workspace(like).take('test', 7),
    ]
    assert others[1].dtype == torch.float64
    assert first.data_ptr() not in [other.data_ptr() for other in others]


def test_arrays_of_a_device_are_left_to_its_allocator():
    like = torch.empty(0, device='meta')
    space = Workspace(like)
    assert space.take('test', 5).device.type == 'meta'
    assert Workspace(like).take('test', 5) is not space.take('test', 5)
    assert Workspace(torch.empty(0)).take('test', 5).device.type == 'cpu'


def test_threads_have_arrays_of_their_own():

    def take():
        return Workspace(torch.empty(0)).take('test', 5)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(take).result()
    assert other.data_ptr() != take().data_ptr()


def test_arrays_of_inference_mode_can_be_trained_with():
    with torch.inference_mode():
        first = Workspace(torch.empty(0)).take('inference', 5)
    again = Workspace(torch.empty(0)).take('inference', 5)
    assert again.data_ptr() == first.data_ptr()
    assert torch.add(torch.ones(5), 1, out=again).sum() == 10
