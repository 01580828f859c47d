from typing import Iterable, List, Mapping, Optional, Sequence

from mmseg.models.losses import CrossEntropyLoss
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from torch import Tensor, nn

from .classifier_growth import predicts_classes
from .losses import BaseClassificationLoss, BaseDistillationLoss, StepOutputs
from .losses.outputs import maps_alone

# What a head that is not the last one can be compared by.
LOGITS = frozenset(('logits', 'seg_logits'))


class Distiller(nn.ModuleList):
    """The distillation losses of a segmentor, and where they apply.

    A loss that reads the logits of a head alone applies to every head that
    predicts classes. Any other, which reads what all heads share, counts
    once: with the decode head, the last one of a cascade. All are scaled by
    the weight of that head's own loss.

    Args:
        losses (Sequence[dict], optional): Configs of the losses. Defaults to
            None.
    """

    def __init__(self, losses: Optional[Sequence[dict]] = None) -> None:
        super().__init__(MODELS.build(cfg) for cfg in losses or ())

    @property
    def reads(self) -> frozenset:
        """frozenset: Fields of :class:`StepOutputs` that any loss reads."""
        return frozenset().union(*(loss.reads for loss in self))

    def forward(self, head: nn.Module, is_last: bool, student: StepOutputs,
                teacher: StepOutputs, size: Sequence[int],
                known: Mapping[BaseDistillationLoss, Tensor]) -> dict:
        """Compare teacher and student at one head.

        Args:
            head (nn.Module): The student's head.
            is_last (bool): Whether it is the (last) decode head.
            student (StepOutputs): Its outputs.
            teacher (StepOutputs): Those of the teacher's head.
            size (Sequence[int]): Height and width of the labels.
            known (dict[BaseDistillationLoss, Tensor]): Values of those that
                were computed with the head's own loss.

        Returns:
            dict[str, Tensor]: The losses by name.
        """
        chosen = self.at(head, is_last)
        if any('seg_logits' in loss.reads for loss in chosen
               if loss not in known):
            student = _upsample(student, size, head.align_corners)
            teacher = _upsample(teacher, size, head.align_corners)
        if any('features' in loss.reads for loss in chosen):
            student, teacher = (
                outputs._replace(features=maps_alone(outputs.features))
                for outputs in (student, teacher))
        scale = loss_weight_of(head)
        losses = dict()
        for loss in chosen:
            if loss in known:
                value = known[loss]
            else:
                value = scale * loss(student, teacher)
            losses[loss.loss_name] = losses.get(loss.loss_name, 0) + value
        return losses

    def at(self, head: nn.Module, is_last: bool) -> List[BaseDistillationLoss]:
        """The losses that apply to a head.

        Args:
            head (nn.Module): The student's head.
            is_last (bool): Whether it is the (last) decode head.

        Returns:
            list[BaseDistillationLoss]: In the order of the config.
        """
        has_classes = predicts_classes(head)
        return [
            loss for loss in self
            if (has_classes if _reads_logits_alone(loss) else is_last)
        ]


def _reads_logits_alone(loss: BaseDistillationLoss) -> bool:
    return bool(loss.reads) and LOGITS.issuperset(loss.reads)


def _upsample(outputs: StepOutputs, size: Sequence[int],
              align_corners: bool) -> StepOutputs:
    """Resize logits to the labels as ``loss_by_feat`` does."""
    return outputs._replace(
        seg_logits=upsample(outputs.logits, size, align_corners))


def upsample(logits: Tensor, size: Iterable[int],
             align_corners: bool) -> Tensor:
    """Resize logits to the labels as ``loss_by_feat`` does.

    Args:
        logits (Tensor): Of shape [B, C, h, w].
        size (Iterable[int]): Height and width of the labels.
        align_corners (bool): As of the head.

    Returns:
        Tensor: Of shape [B, C, H, W].
    """
    return resize(
        logits, size=tuple(size), mode='bilinear', align_corners=align_corners)


def loss_weight_of(head: nn.Module) -> float:
    """Weight of a head's classification, which its distillation shares.

    Args:
        head (nn.Module): A decode or auxiliary head.

    Returns:
        float: The weight.
    """
    losses = head.loss_decode
    if not isinstance(losses, nn.ModuleList):
        losses = [losses]
    kinds = (CrossEntropyLoss, BaseClassificationLoss)
    entropies = [loss for loss in losses if isinstance(loss, kinds)]
    return getattr((entropies or losses)[0], 'loss_weight', 1.0)
