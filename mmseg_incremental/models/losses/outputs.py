"""What a network hands to the distillation losses."""
from typing import NamedTuple, Optional, Sequence, Tuple, Union

from torch import Tensor


class StepOutputs(NamedTuple):
    """The outputs of one network, student or teacher, for one batch.

    A field that no loss of the run reads (see
    :attr:`BaseDistillationLoss.reads`) may be left at None.

    B is the batch size, C the number of classes the network knows (O for the
    teacher), H and W the size of the labels, h and w that of the head output.

    Args:
        features (Tuple[Tensor, ...], optional): What the backbone, or the
            neck if there is one, returned: one [B, channels, height, width]
            map a level. Defaults to None.
        logits (Tensor, optional): Output of the head, [B, C, h, w].
            Defaults to None.
        seg_logits (Tensor, optional): ``logits`` resized to the label size,
            [B, C, H, W]. Defaults to None.
        stages (Tuple[Tensor, ...], optional): The output of each stage of
            the backbone before its last activation, where there is one, see
            :func:`mmseg_incremental.models.record.recording`. Defaults to
            None.
        embedding (Tensor, optional): What the classifier of the head reads,
            before dropout, [B, channels, h, w]. Defaults to None.
    """

    features: Optional[Tuple[Tensor, ...]] = None
    logits: Optional[Tensor] = None
    seg_logits: Optional[Tensor] = None
    stages: Optional[Tuple[Tensor, ...]] = None
    embedding: Optional[Tensor] = None


def maps_alone(
        outputs: Sequence[Union[Tensor,
                                Sequence[Tensor]]]) -> Tuple[Tensor, ...]:
    """Leave out the class tokens that a ViT may give beside its maps.

    Args:
        outputs (Sequence): Of a backbone: one map a level, or map and token.

    Returns:
        tuple[Tensor]: One [B, channels, height, width] map a level.
    """
    return tuple(
        output if isinstance(output, Tensor) else output[0]
        for output in outputs)
