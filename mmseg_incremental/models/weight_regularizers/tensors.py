"""Tensors of parameters, whose first dimension grows with the classes."""
from typing import List

from torch import Tensor


def is_part(old: Tensor, new: Tensor) -> bool:
    """Whether a tensor can be the first rows of another.

    Args:
        old (Tensor): The smaller one.
        new (Tensor): The larger one.

    Returns:
        bool: True also if both have one shape.
    """
    return (old.dim() == new.dim() and old.shape[1:] == new.shape[1:]
            and old.shape[:1] <= new.shape[:1])


def pad(old: List[Tensor], new: List[Tensor]) -> List[Tensor]:
    """Put old rows in the place of the first ones of new tensors.

    Args:
        old (list[Tensor]): The old rows, one tensor a parameter.
        new (list[Tensor]): What the other rows are taken from.

    Returns:
        list[Tensor]: New tensors in the shapes of ``new``.
    """
    padded = []
    for first, tensor in zip(old, new):
        tensor = tensor.detach().clone()
        (tensor[:len(first)] if tensor.dim() else tensor).copy_(first)
        padded.append(tensor)
    return padded


def scale_to_one(tensors: List[Tensor]) -> List[Tensor]:
    """Scale each tensor linearly to [0, 1].

    As in MiB's official code, a tensor whose values lie within about 1e-8
    has next to no importance; a constant one has none.

    Args:
        tensors (list[Tensor]): Of any shapes.

    Returns:
        list[Tensor]: New tensors of these shapes.
    """
    scaled = []
    for tensor in tensors:
        low, high = tensor.aminmax()
        scaled.append((tensor - low) / (high - low + 1e-8))
    return scaled
