"""Parameters and a loss for the tests of weight regularizers."""
import torch
from torch import Tensor


def draw_params(rows: int = 3, seed: int = 0) -> dict:
    """A classifier of so many rows, a factor and what nothing reads."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(
            shape, dtype=torch.float64, generator=generator).requires_grad_()

    return dict(
        weight=draw(rows, 2), bias=draw(rows), factor=draw(), unused=draw(2))


def loss_of(params: dict, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    dtype = params['weight'].dtype
    inputs = torch.randn(2, dtype=dtype, generator=generator)
    outputs = params['factor'] * (params['weight'] @ inputs + params['bias'])
    return outputs.logsumexp(dim=0) + outputs.square().sum()
