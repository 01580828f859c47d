import io
import platform
from types import SimpleNamespace

import pytest
import torch

from mmseg_incremental.engine import device
from mmseg_incremental.engine.device import (device_name, has_fast_products,
                                             processor_name)


@pytest.fixture
def machine(monkeypatch):
    """A machine without CUDA, of which /proc/cpuinfo tells."""
    monkeypatch.setattr(device, 'is_cuda_available', lambda: False)
    monkeypatch.setattr(device, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(device.osp, 'isfile', lambda path: True)
    text = 'processor\t: 0\nmodel name\t: AMD EPYC: 2 cores\n'
    monkeypatch.setattr(
        device,
        'open',
        lambda *args, **kwargs: io.StringIO(text),
        raising=False)


def test_processor(machine):
    assert device_name() == processor_name() == 'AMD EPYC: 2 cores'


def test_processor_of_another_system(machine, monkeypatch):
    monkeypatch.setattr(device.osp, 'isfile', lambda path: False)
    monkeypatch.setattr(platform, 'processor', lambda: '')
    monkeypatch.setattr(platform, 'machine', lambda: 'arm64')
    assert device_name() == 'arm64'


def test_gpu(machine, monkeypatch):
    monkeypatch.setattr(device, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: 'NVIDIA H200')
    assert device_name() == 'NVIDIA H200'


def test_other_accelerator(machine, monkeypatch):
    monkeypatch.setattr(device, 'get_device', lambda: 'mps')
    assert device_name() == 'mps'


def test_half_precision_of_this_processor():
    """The names that PyTorch has for what is asked."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip('this PyTorch is built without oneDNN')
    for name in ('bf16', 'fp16'):
        assert callable(
            getattr(torch.ops.mkldnn, f'_is_mkldnn_{name}_supported'))
    assert isinstance(has_fast_products(torch.bfloat16), bool)


@pytest.mark.parametrize('dtype, name', [
    (torch.bfloat16, '_is_mkldnn_bf16_supported'),
    (torch.float16, '_is_mkldnn_fp16_supported'),
])
def test_half_precision(dtype, name, monkeypatch):
    for answer in (True, False):
        ops = SimpleNamespace(**{name: lambda answer=answer: answer})
        monkeypatch.setattr(torch.ops, 'mkldnn', ops)
        assert has_fast_products(dtype) is answer
    monkeypatch.setattr(torch.ops, 'mkldnn', SimpleNamespace())
    assert has_fast_products(dtype)
