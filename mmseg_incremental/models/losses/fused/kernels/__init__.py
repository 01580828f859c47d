"""Triton kernels of the fused losses, for CUDA.

The one of :mod:`.scoring` takes a block of pixels and goes over the channels,
that of :mod:`.gradient` takes a row of samples of the logits and goes over the
pixels that are interpolated from them. Both upsample what they need from the
logits as they are, so nothing of label size has channels. Every sum has one
order: there is no atomic addition.
"""
from .gradient import pull_gradient
from .inputs import PixelMaps, build_inputs, choose_losses, find_footprint
from .scoring import score_pixels

__all__ = [
    'PixelMaps', 'build_inputs', 'choose_losses', 'find_footprint',
    'pull_gradient', 'score_pixels'
]
