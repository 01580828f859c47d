"""Tensors of parameters, whose first dimension grows with the classes."""
from typing import List, Optional

import torch
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


def scale_to_one(tensors: List[Tensor],
                 parts: Optional[List[List[int]]] = None) -> List[Tensor]:
    """Scale each tensor, or each part of it, linearly to [0, 1].

    As in MiB's official code, a part whose values lie within about 1e-8 has
    next to no importance; a constant one, such as a single number, has none.

    Args:
        tensors (list[Tensor]): Of any shapes.
        parts (list[list[int]], optional): Numbers of rows of the parts of
            each tensor. Defaults to None, one part each.

    Returns:
        list[Tensor]: New tensors of these shapes.
    """
    if parts is None:
        parts = [count_rows(tensor) for tensor in tensors]
    scaled = []
    for tensor, sizes in zip(tensors, parts):
        rows = tensor.reshape(1) if tensor.dim() == 0 else tensor
        pieces = [_scale(piece) for piece in rows.split(sizes)]
        scaled.append(torch.cat(pieces).reshape(tensor.shape))
    return scaled


def count_rows(tensor: Tensor) -> List[int]:
    """The rows of a tensor as one part; a scalar counts as a row."""
    return [len(tensor) if tensor.dim() else 1]


def _scale(tensor: Tensor) -> Tensor:
    low, high = tensor.aminmax()
    return (tensor - low) / (high - low + 1e-8)
