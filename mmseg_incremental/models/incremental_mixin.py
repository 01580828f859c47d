from typing import (Any, Dict, Iterable, List, NamedTuple, Optional, Sequence,
                    Tuple)

import torch
from mmseg.models.losses import CrossEntropyLoss
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from mmseg.utils import SampleList, add_prefix
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_incremental.errors import IncrementalConfigError
from .classifier_growth import (check_growable, enable_growth, grow_classifier,
                                predicts_classes)
from .losses import BaseDistillationLoss, StepOutputs, UnbiasedCrossEntropyLoss

# Fields of StepOutputs that each head has of its own.
HEAD_OUTPUTS = frozenset(('logits', 'seg_logits'))


class HeadOutput(NamedTuple):
    """What one head computed.

    Args:
        name (str): Its name in the log, for example 'decode' or 'aux_0'.
        head (nn.Module): The head itself.
        logits (Tensor): Its output, of shape (B, C, h, w).
    """
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

    Distillation losses that read the outputs of a head alone apply to every
    head that predicts classes. Those that read features, which all heads
    share, count once: with the decode head, the last one of a cascade. All
    are scaled by the weight of that head's own loss.

    Args:
        distillation (Sequence[dict], optional): Configs of the losses between
            teacher and student. Defaults to None.
        classifier_init (str): How the new rows of a grown classifier start:
            'random', 'zeros' or 'background' (MiB's). Defaults to
            'background'.
        norm_eval (bool): Whether all BatchNorm layers keep the statistics
            they were loaded with, as MMSeg's backbones understand it and as
            ``--fix_bn`` of MiB's code does. The few images of a step, all
            with the same classes, pull the statistics away from those of the
            old ones. The published results of MiB and PLOP do without.
            Defaults to False.
        **kwargs: Arguments of the stock segmentor.
    """

    def __init__(self,
                 *args: Any,
                 distillation: Optional[Sequence[dict]] = None,
                 classifier_init: str = 'background',
                 norm_eval: bool = False,
                 **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.norm_eval = norm_eval
        for _, head in self.named_heads():
            check_growable(head)
            enable_growth(head, classifier_init)
        self.distillation = nn.ModuleList(
            MODELS.build(cfg) for cfg in distillation or ())
        self.teacher: Optional[IncrementalMixin] = None

    def train(self, mode: bool = True) -> 'IncrementalMixin':
        """Change the mode of all modules but frozen BatchNorm layers.

        Args:
            mode (bool): Whether to train. Defaults to True.

        Returns:
            IncrementalMixin: The model itself.
        """
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

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

        Raises:
            IncrementalConfigError: If a classifier in it does not fit.
        """
        for name, head in self.named_heads():
            key = f'{name}.conv_seg.weight'
            if predicts_classes(head) and key in state_dict:
                grow_classifier(head, state_dict, f'{name}.', source, target)

    def loss(self, inputs: Tensor, data_samples: SampleList) -> dict:
        """Calculate losses from a batch of inputs and data samples.

        Args:
            inputs (Tensor): Images of shape (B, 3, H, W).
            data_samples (list[:obj:`SegDataSample`]): Their labels.

        Returns:
            dict[str, Tensor]: The losses of the stock segmentor and those of
            distillation, for example 'decode.loss_unkd'.

        Raises:
            IncrementalConfigError: If there are distillation losses, but no
                teacher.
        """
        if not len(self.distillation):
            return super().loss(inputs, data_samples)
        if self.teacher is None:
            raise IncrementalConfigError(
                'model.distillation has losses, but the model has no teacher '
                'to learn from; add the hook TeacherSnapshotHook to '
                'custom_hooks, or leave model.distillation out.')
        size = data_samples[0].gt_sem_seg.shape
        teacher_features, teacher_logits = self._run_teacher(inputs)
        features = tuple(self.extract_feat(inputs))
        losses = dict()
        for name, head, logits in self.forward_heads(features):
            head_losses = head.loss_by_feat(logits, data_samples)
            head_losses.update(
                self._distill(
                    head, StepOutputs(features, logits),
                    StepOutputs(teacher_features, teacher_logits.get(name)),
                    size))
            losses.update(add_prefix(head_losses, name))
        return losses

    @torch.no_grad()
    def _run_teacher(
            self,
            inputs: Tensor) -> Tuple[Tuple[Tensor, ...], Dict[str, Tensor]]:
        """Features, and logits by head if a loss reads them."""
        features = tuple(self.teacher.extract_feat(inputs))
        if not _read_any(self.distillation, HEAD_OUTPUTS):
            return features, {}
        outputs = self.teacher.forward_heads(features)
        return features, {output.name: output.logits for output in outputs}

    def _distill(self, head: nn.Module, student: StepOutputs,
                 teacher: StepOutputs, size: Sequence[int]) -> dict:
        """Compare teacher and student at one head."""
        chosen = self._losses_at(head)
        if _read_any(chosen, ('seg_logits', )):
            student = _upsample(student, size, head.align_corners)
            teacher = _upsample(teacher, size, head.align_corners)
        scale = _loss_weight(head)
        losses = dict()
        for loss in chosen:
            value = scale * loss(student, teacher)
            losses[loss.loss_name] = losses.get(loss.loss_name, 0) + value
        return losses

    def _losses_at(self, head: nn.Module) -> List[BaseDistillationLoss]:
        last = self.decode_head
        if isinstance(last, nn.ModuleList):
            last = last[-1]
        is_last, has_classes = head is last, predicts_classes(head)
        return [
            loss for loss in self.distillation
            if (has_classes if _reads_head_alone(loss) else is_last)
        ]


def _read_any(losses: Iterable[BaseDistillationLoss],
              fields: Iterable[str]) -> bool:
    return any(not set(fields).isdisjoint(loss.reads) for loss in losses)


def _reads_head_alone(loss: BaseDistillationLoss) -> bool:
    return bool(loss.reads) and HEAD_OUTPUTS.issuperset(loss.reads)


def _upsample(outputs: StepOutputs, size: Sequence[int],
              align_corners: bool) -> StepOutputs:
    """Resize logits to the labels as ``loss_by_feat`` does."""
    return outputs._replace(
        seg_logits=resize(
            outputs.logits,
            size=tuple(size),
            mode='bilinear',
            align_corners=align_corners))


def _loss_weight(head: nn.Module) -> float:
    """Weight of a head's cross entropy, which its distillation shares."""
    losses = head.loss_decode
    if not isinstance(losses, nn.ModuleList):
        losses = [losses]
    kinds = (CrossEntropyLoss, UnbiasedCrossEntropyLoss)
    entropies = [loss for loss in losses if isinstance(loss, kinds)]
    return getattr((entropies or losses)[0], 'loss_weight', 1.0)
