"""Tensors inside a network that its forward does not return."""
from contextlib import ExitStack, contextmanager
from typing import Any, Callable, Dict, Iterable, Iterator, List, Tuple

from mmseg.models.backbones import ResNet
from torch import Tensor, nn

from .losses.outputs import maps_alone


class Recorded:
    """What :func:`recording` has seen.

    Attributes:
        stages (Tuple[Tensor, ...]): Outputs of the backbone's stages before
            their last activation, [B, channels, height, width] each.
        embeddings (Dict[nn.Module, Tensor]): What the classifier of each head
            read, before dropout, [B, channels, h, w].
    """

    def __init__(self) -> None:
        self.stages: Tuple[Tensor, ...] = ()
        self.embeddings: Dict[nn.Module, Tensor] = {}


@contextmanager
def recording(backbone: nn.Module, heads: Iterable[nn.Module],
              fields: Iterable[str]) -> Iterator[Recorded]:
    """Record inside the ``with`` block what losses want to read.

    The stages of :class:`mmseg.models.ResNet` and its descendants end in a
    ReLU, and what enters it is recorded, as PLOP asks for. The outputs of
    every other backbone are recorded as they are: those of MobileNetV2's
    inverted residuals are linear, those of MiT, Swin and ViT come from a
    normalisation or a residual sum. Where another one ends its stages with an
    activation, as STDC does, it is included.

    Nothing stays behind in the network, so that copies, EMA and checkpoints
    never see a hook.

    Args:
        backbone (nn.Module): The backbone of a segmentor.
        heads (Iterable[nn.Module]): Its decode and auxiliary heads.
        fields (Iterable[str]): What to record, of 'stages' and 'embedding';
            other names are passed over.

    Yields:
        Recorded: Filled by the forward passes inside the block.
    """
    recorded = Recorded()
    with ExitStack() as stack:
        if 'stages' in fields:
            _record_stages(backbone, recorded, stack)
        if 'embedding' in fields:
            for head in heads:
                _record_embedding(head, recorded, stack)
        yield recorded


def _record_stages(backbone: nn.Module, recorded: Recorded,
                   stack: ExitStack) -> None:
    if not isinstance(backbone, ResNet):

        def keep(module: nn.Module, args: Any, outputs: Any) -> None:
            recorded.stages = maps_alone(outputs)

        _hook(stack, backbone.register_forward_hook, keep)
        return
    stages: List[Tensor] = [None] * len(backbone.out_indices)
    for position, index in enumerate(backbone.out_indices):
        stage = getattr(backbone, backbone.res_layers[index])
        relu = stage[-1].relu
        # In place, it would write over what is recorded.
        stack.callback(setattr, relu, 'inplace', relu.inplace)
        relu.inplace = False

        def before(module: nn.Module,
                   args: Tuple[Tensor],
                   position: int = position) -> None:
            # A block calls its ReLU several times, at last at its end.
            stages[position] = args[0]

        _hook(stack, relu.register_forward_pre_hook, before)

    def collect(module: nn.Module, args: Any, outputs: Any) -> None:
        recorded.stages = tuple(stages)

    _hook(stack, backbone.register_forward_hook, collect)


def _record_embedding(head: nn.Module, recorded: Recorded,
                      stack: ExitStack) -> None:

    def keep(module: nn.Module, args: Tuple[Tensor]) -> None:
        recorded.embeddings[head] = args[0]

    # The last thing before the classifier, see BaseDecodeHead.cls_seg.
    reader = head.conv_seg if head.dropout is None else head.dropout
    _hook(stack, reader.register_forward_pre_hook, keep)


def _hook(stack: ExitStack, register: Callable, function: Callable) -> None:
    stack.callback(register(function).remove)
