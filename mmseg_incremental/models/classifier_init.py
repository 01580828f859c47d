"""How the rows of a grown classifier start, as a registry of functions.

Shapes: weight [C, D, ...], bias [C] or None, C seen classes.
"""
import math
from typing import Optional

import torch
from mmengine.registry import Registry
from torch import Tensor

CLASSIFIER_INITS = Registry(
    'classifier_init', scope='mmseg', locations=['mmseg_incremental.models'])


@CLASSIFIER_INITS.register_module(name='random')
def random_init(weight: Tensor, bias: Optional[Tensor],
                new_rows: Tensor) -> None:
    """Keep the head's own initialisation, as fine-tuning and LwF do.

    Args:
        weight (Tensor): Classifier weight of shape (C, D, ...).
        bias (Tensor, optional): Classifier bias of shape (C, ).
        new_rows (Tensor): Indices of the new classes' rows, shape (N, ).
    """


@CLASSIFIER_INITS.register_module(name='zeros')
def zeros_init(weight: Tensor, bias: Optional[Tensor],
               new_rows: Tensor) -> None:
    """Set the new rows to zero.

    Args:
        weight (Tensor): Classifier weight of shape (C, D, ...), changed in
            place.
        bias (Tensor, optional): Classifier bias of shape (C, ).
        new_rows (Tensor): Indices of the new classes' rows, shape (N, ).
    """
    weight[new_rows] = 0
    if bias is not None:
        bias[new_rows] = 0


@CLASSIFIER_INITS.register_module(name='background')
def background_init(weight: Tensor, bias: Optional[Tensor],
                    new_rows: Tensor) -> None:
    r"""Share the background's probability among itself and the new classes.

    The classifier initialisation of `MiB
    <https://arxiv.org/abs/2002.00718>`_ (section 3). With the background's
    weight :math:`w_b` and bias :math:`b_b` before growth and N new classes,
    the background and every new class start with

    .. math::
        w = w_b, \qquad b = b_b - \log(N + 1)

    so that the sum of their exponentials is what the background's was, and
    the old model's probabilities hold at the first iteration. A head without
    bias cannot divide it: its new rows copy the weight alone.

    Args:
        weight (Tensor): Classifier weight of shape (C, D, ...), row 0 the
            background, changed in place.
        bias (Tensor, optional): Classifier bias of shape (C, ).
        new_rows (Tensor): Indices of the new classes' rows, shape (N, ).
    """
    weight[new_rows] = weight[0].clone()
    if bias is not None:
        share = bias[0] - math.log(len(new_rows) + 1)
        bias[new_rows] = share
        bias[0] = share


def init_new_rows(name: str, weight: Tensor, bias: Optional[Tensor],
                  new_rows: Tensor) -> None:
    """Run the initialiser called ``name`` on a classifier.

    Args:
        name (str): Key of ``CLASSIFIER_INITS``.
        weight (Tensor): Classifier weight of shape (C, D, ...).
        bias (Tensor, optional): Classifier bias of shape (C, ).
        new_rows (Tensor): Indices of the new classes' rows, shape (N, ).
    """
    with torch.no_grad():
        CLASSIFIER_INITS.get(name)(weight, bias, new_rows)
