"""Stock heads that accept checkpoints with fewer classes, for plain configs.

In the incremental segmentors every stock head grows. These are for configs
that write the head out and train with MMSeg's own tools: ``load_from`` of a
checkpoint with fewer classes carries the old rows over.
"""
from typing import Any, Type

from mmseg.registry import MODELS
from torch import nn

from .classifier_growth import GROWABLE_HEADS, check_growable, enable_growth


class IncrementalHeadMixin:
    """Makes a stock head grow when a smaller checkpoint is loaded.

    Args:
        classifier_init (str): How new rows start: 'random', 'zeros' or
            'background' (MiB's). Defaults to 'background'.
        **kwargs: Arguments of the stock head.
    """

    def __init__(self,
                 *args: Any,
                 classifier_init: str = 'background',
                 **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_growable(self)
        enable_growth(self, classifier_init)


def _register(name: str) -> Type[nn.Module]:
    stock = MODELS.get(name)
    head = type(
        f'Incremental{name}', (IncrementalHeadMixin, stock),
        dict(
            __module__=__name__,
            __doc__=f':class:`mmseg.models.{name}` that learns new classes.\n'
            '\n    See :class:`IncrementalHeadMixin`.\n'))
    return MODELS.register_module(module=head)


INCREMENTAL_HEADS = {
    head.__name__: head
    for head in map(_register, GROWABLE_HEADS)
}
globals().update(INCREMENTAL_HEADS)
