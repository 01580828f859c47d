"""What a run computes on."""
import os.path as osp
import platform

import torch
from mmengine.device import get_device, is_cuda_available


def device_name() -> str:
    """Name of the device of this process.

    Returns:
        str: That of the GPU on CUDA, of the processor on a CPU, otherwise the
        type of the device, such as 'mps'.
    """
    if is_cuda_available():
        return torch.cuda.get_device_name()
    device = get_device()
    return processor_name() if device == 'cpu' else device


def processor_name() -> str:
    """Name of the processor, which Python itself does not know on Linux.

    Returns:
        str: For example 'AMD EPYC'; the type of machine where it is unknown.
    """
    if osp.isfile('/proc/cpuinfo'):
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            for line in file:
                if line.startswith('model name'):
                    return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()


def has_fast_products(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies in half precision on this processor.

    On x86 it does with AVX-512 or what came after it. Otherwise PyTorch
    computes convolutions element by element, many times slower than in
    float32.

    Args:
        dtype (torch.dtype): ``torch.bfloat16`` or ``torch.float16``.

    Returns:
        bool: Whether it does; True where PyTorch does not tell.
    """
    name = {torch.bfloat16: 'bf16', torch.float16: 'fp16'}[dtype]
    is_supported = getattr(torch.ops.mkldnn, f'_is_mkldnn_{name}_supported',
                           None)
    return is_supported is None or is_supported()
