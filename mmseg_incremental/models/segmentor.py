from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import torch
from mmseg.models import CascadeEncoderDecoder, EncoderDecoder
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from mmseg.utils import SampleList, add_prefix
from torch import Tensor, nn

from .classifier_growth import (check_growable, enable_growth,
                                grow_classifier)
from .losses import StepOutputs


class HeadOutput(NamedTuple):
    """What one head computed: its name in the log, itself, its logits."""
    name: str
    head: nn.Module
    logits: Tensor


class IncrementalMixin:
    """What a segmentor needs to learn new classes beside old ones.

    It is built with the head sizes of its step. Loading a checkpoint of the
    step before carries the classifier rows over, and a teacher that a hook
    hands over guides the old classes through the distillation losses. It adds
    no parameter: its checkpoints are those of the stock segmentor.

    .. code-block:: text

        loss(): extract_feat() -> forward_heads() -> head.loss_by_feat()
                                                  -> distillation losses

    Args:
        distillation (Sequence[dict], optional): Configs of the losses between
            teacher and student. They apply to every head, scaled by the
            weight of that head's own loss. Defaults to None.
        classifier_init (str): How the new rows of a grown classifier start:
            'random', 'zeros' or 'background' (MiB's). Defaults to
            'background'.
        **kwargs: Arguments of the stock segmentor.
    """

    def __init__(self,
                 *args: Any,
                 distillation: Optional[Sequence[dict]] = None,
                 classifier_init: str = 'background',
                 **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for _, head in self.named_heads():
            check_growable(head)
            enable_growth(head, classifier_init)
        self.distillation = nn.ModuleList(
            MODELS.build(cfg) for cfg in distillation or ())
        self.teacher: Optional[IncrementalMixin] = None

    def named_heads(self) -> List[Tuple[str, nn.Module]]:
        """List decode and auxiliary heads.

        Returns:
            list[tuple[str, nn.Module]]: State dict prefix and head.
        """
        heads = []
        for name in ('decode_head', 'auxiliary_head'):
            head = getattr(self, name, None)
            if isinstance(head, nn.ModuleList):
                heads += [(f'{name}.{i}', h) for i, h in enumerate(head)]
            elif head is not None:
                heads.append((name, head))
        return heads

    def set_teacher(self, teacher: 'IncrementalMixin') -> None:
        """Take the frozen model of the step before.

        It stays outside the modules, so that state dict, optimizer, DDP, EMA
        and ``train()`` never see it.

        Args:
            teacher (IncrementalMixin): A model with the old classes.
        """
        teacher.eval().requires_grad_(False)
        object.__setattr__(self, 'teacher', teacher)

    def grow_state_dict(self, state_dict: dict, source: Sequence[str],
                        target: Sequence[str]) -> None:
        """Fit classifier rows to this model by class name, in place.

        Args:
            state_dict (dict): State dict of a model of this architecture.
            source (Sequence[str]): Its class names.
            target (Sequence[str]): The class names of this model.
        """
        for name, head in self.named_heads():
            if f'{name}.conv_seg.weight' in state_dict:
                grow_classifier(head, state_dict, f'{name}.', source, target)

    def loss(self, inputs: Tensor, data_samples: SampleList) -> dict:
        """Calculate losses from a batch of inputs and data samples.

        Args:
            inputs (Tensor): Images of shape (B, 3, H, W).
            data_samples (list[:obj:`SegDataSample`]): Their labels.

        Returns:
            dict[str, Tensor]: The losses of the stock segmentor and those of
            distillation, for example 'decode.loss_unkd'.
        """
        if self.teacher is None or not len(self.distillation):
            return super().loss(inputs, data_samples)
        with torch.no_grad():
            teacher_features = self.teacher.extract_feat(inputs)
            teacher_heads = self.teacher.forward_heads(teacher_features)
        features = self.extract_feat(inputs)
        losses = dict()
        for student, teacher in zip(
                self.forward_heads(features), teacher_heads):
            labelled = student.head.loss_by_feat(student.logits, data_samples)
            # A detail head (STDC) has outputs that are not classes.
            if student.head.num_classes == self.num_classes:
                size = data_samples[0].gt_sem_seg.shape
                scale = _loss_weight(student.head)
                distilled = self._distill(
                    self._outputs(features, student, size),
                    self._outputs(teacher_features, teacher, size))
                labelled.update({k: scale * v for k, v in distilled.items()})
            losses.update(add_prefix(labelled, student.name))
        return losses

    def _outputs(self, features: Sequence[Tensor], output: HeadOutput,
                 size: Sequence[int]) -> StepOutputs:
        """Gather what the losses may read, upsampled only if one does."""
        seg_logits = None
        if any('seg_logits' in loss.reads for loss in self.distillation):
            seg_logits = resize(
                output.logits,
                size=tuple(size),
                mode='bilinear',
                align_corners=output.head.align_corners)
        return StepOutputs(tuple(features), output.logits, seg_logits)

    def _distill(self, student: StepOutputs, teacher: StepOutputs) -> dict:
        losses = dict()
        for loss in self.distillation:
            value = loss(student, teacher)
            losses[loss.loss_name] = losses.get(loss.loss_name, 0) + value
        return losses


@MODELS.register_module()
class IncrementalEncoderDecoder(IncrementalMixin, EncoderDecoder):
    """:class:`mmseg.models.EncoderDecoder` that learns new classes.

    See :class:`IncrementalMixin` for the arguments it adds.
    """

    def forward_heads(self, features: Sequence[Tensor]) -> List[HeadOutput]:
        """Run every head once.

        Args:
            features (Sequence[Tensor]): Output of :meth:`extract_feat`.

        Returns:
            list[HeadOutput]: Decode head first, then auxiliary heads.
        """
        outputs = [('decode', self.decode_head)] + _auxiliary(self)
        return [
            HeadOutput(name, head, head.forward(features))
            for name, head in outputs
        ]


@MODELS.register_module()
class IncrementalCascadeEncoderDecoder(IncrementalMixin,
                                       CascadeEncoderDecoder):
    """:class:`mmseg.models.CascadeEncoderDecoder` that learns new classes.

    See :class:`IncrementalMixin` for the arguments it adds. With a teacher
    each stage runs once an iteration; the stock segmentor runs all but the
    last twice.
    """

    def forward_heads(self, features: Sequence[Tensor]) -> List[HeadOutput]:
        """Run every head once, each stage on the output of the one before.

        Args:
            features (Sequence[Tensor]): Output of :meth:`extract_feat`.

        Returns:
            list[HeadOutput]: The stages in order, then auxiliary heads.
        """
        outputs: List[HeadOutput] = []
        for i, head in enumerate(self.decode_head):
            previous = (outputs[-1].logits, ) if outputs else ()
            logits = head.forward(features, *previous)
            outputs.append(HeadOutput(f'decode_{i}', head, logits))
        return outputs + [
            HeadOutput(name, head, head.forward(features))
            for name, head in _auxiliary(self)
        ]


def _auxiliary(model: IncrementalMixin) -> List[Tuple[str, nn.Module]]:
    """Auxiliary heads with the names that the stock segmentor logs."""
    if not model.with_auxiliary_head:
        return []
    if isinstance(model.auxiliary_head, nn.ModuleList):
        return [(f'aux_{i}', h) for i, h in enumerate(model.auxiliary_head)]
    return [('aux', model.auxiliary_head)]


def _loss_weight(head: nn.Module) -> float:
    """Weight of a head's own loss, which its distillation shares."""
    loss = head.loss_decode
    loss = loss[0] if isinstance(loss, nn.ModuleList) else loss
    return getattr(loss, 'loss_weight', 1.0)
