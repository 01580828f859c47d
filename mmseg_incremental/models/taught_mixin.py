"""What a segmentor computes together with the model of the step before."""
from typing import Optional, Tuple

import torch
from mmseg.utils import SampleList, add_prefix
from torch import Tensor, nn

from mmseg_incremental.errors import IncrementalConfigError
from .distiller import upsample
from .fused_head import fuse, fuses_alone
from .losses import StepOutputs
from .network_outputs import Runs, forward_outputs
from .step_labels import (labelled_share, stack_labels, weighted_pixels,
                          with_labels)
from .teacher import cast_weights, precision


class TaughtMixin:
    """The loss of a segmentor that may have a teacher.

    .. code-block:: text

        loss(): teacher's extract_feat() -> forward_heads()
                label completion
                extract_feat() -> forward_heads() -> head.loss_by_feat()
                                                  -> distillation losses

    With a frozen encoder the teacher's ``extract_feat()`` serves both. Its
    auxiliary heads run only if a loss compares any of them.
    """

    teacher: Optional['TaughtMixin'] = None
    teacher_dtype: Optional[torch.dtype] = None

    def set_teacher(self,
                    teacher: 'TaughtMixin',
                    dtype: Optional[torch.dtype] = None) -> None:
        """Take the frozen model of the step before.

        It stays outside the modules, so that state dict, optimizer, DDP, EMA
        and ``train()`` never see it.

        Args:
            teacher (TaughtMixin): A model with the old classes.
            dtype (torch.dtype, optional): What it computes in, by
                autocasting; its weights are cast for that. Defaults to None,
                as the student.
        """
        teacher.eval().requires_grad_(False)
        cast_weights(teacher, dtype)
        object.__setattr__(self, 'teacher', teacher)
        self.teacher_dtype = dtype

    @property
    def needs_teacher(self) -> bool:
        """bool: Whether something reads what the teacher says."""
        return len(self.distillation) > 0 or self.label_completion is not None

    @property
    def shares_encoder(self) -> bool:
        """bool: Whether the teacher's features are those of the model too.

        Not if they are of another precision.
        """
        return (self.frozen_encoder and self.needs_teacher
                and self.teacher_dtype is None)

    @property
    def _fuses_alone(self) -> bool:
        """Whether all heads can do without the stock loss."""
        return self.fused_losses and all(
            fuses_alone(head) for _, head in self.named_heads())

    def loss(self, inputs: Tensor, data_samples: SampleList) -> dict:
        """Calculate losses from a batch of inputs and data samples.

        Args:
            inputs (Tensor): Images of shape (B, 3, H, W).
            data_samples (list[:obj:`SegDataSample`]): Their labels.

        Returns:
            dict[str, Tensor]: The losses of the stock segmentor and those of
            distillation, for example 'decode.loss_unkd'. With label
            completion also the percentage of background pixels that take
            part, 'labelled_background', for the log.

        Raises:
            IncrementalConfigError: If a part needs a teacher, but there is
                none.
        """
        if not (self.needs_teacher or self._fuses_alone):
            return super().loss(inputs, data_samples)
        shared, teacher_runs = StepOutputs(), []
        if self.needs_teacher:
            shared, teacher_runs = self._run_teacher(inputs)
        taught = {run.name: outputs for run, outputs in teacher_runs}
        losses, pixel_weight = dict(), None
        if self.label_completion is not None:
            given, logits = self._labels(data_samples, teacher_runs)
            labels, pixel_weight = self.label_completion.complete(
                given, logits)
            data_samples = with_labels(data_samples, labels)
            losses['labelled_background'] = labelled_share(given, labels)
        encoded = shared if self.shares_encoder else None
        _, runs = forward_outputs(self, inputs,
                                  self.distillation.reads | {'logits'},
                                  encoded)
        for run, outputs in runs:
            head_losses = self._head_losses(run.head, outputs,
                                            taught.get(run.name, shared),
                                            data_samples, pixel_weight)
            losses.update(add_prefix(head_losses, run.name))
        return losses

    def _head_losses(self, head: nn.Module, student: StepOutputs,
                     teacher: StepOutputs, data_samples: SampleList,
                     pixel_weight: Optional[Tensor]) -> dict:
        """Classification and distillation at one head."""
        is_last = head is self._last_head
        size = data_samples[0].gt_sem_seg.shape
        fused = None
        if self.fused_losses:
            fused = fuse(head, self.distillation.at(head, is_last),
                         self.teacher.num_classes if self.teacher else 0)
        if fused is not None and fused.saves(student.logits, size):
            losses, known = fused.losses(student, teacher,
                                         stack_labels(data_samples),
                                         pixel_weight)
        else:
            known = {}
            with weighted_pixels(head, pixel_weight):
                losses = head.loss_by_feat(student.logits, data_samples)
        losses.update(
            self.distillation(head, is_last, student, teacher, size, known))
        return losses

    def observe_labels(self, inputs: Tensor, data_samples: SampleList) -> None:
        """Show a batch to the label completer, before the first iteration.

        Args:
            inputs (Tensor): Images of shape (B, 3, H, W).
            data_samples (list[:obj:`SegDataSample`]): Their labels.
        """
        _, runs = self._run_teacher(inputs, distills=False)
        self.label_completion.observe(*self._labels(data_samples, runs))

    def _run_teacher(self,
                     inputs: Tensor,
                     distills: bool = True) -> Tuple[StepOutputs, Runs]:
        """What :func:`forward_outputs` gives for the teacher.

        Without ``distills``, only what label completion reads.
        """
        if self.teacher is None:
            raise IncrementalConfigError(
                'model.distillation or model.label_completion is set, but the '
                'model has no teacher to learn from; add the hook '
                'TeacherSnapshotHook to custom_hooks, or leave them out.')
        reads = self.distillation.reads if distills else frozenset()
        if self.label_completion is not None:
            reads = reads | {'logits'}
        auxiliary = distills and any(
            self.distillation.at(head, False)
            for name, head in self.named_heads()
            if name.startswith('auxiliary_head'))
        # Autograd saves no tensor of the inference mode for the student.
        mode = torch.no_grad if self.shares_encoder else torch.inference_mode
        with mode(), precision(inputs.device.type, self.teacher_dtype):
            return forward_outputs(
                self.teacher, inputs, reads, auxiliary=auxiliary)

    def _labels(self, data_samples: SampleList,
                teacher_runs: Runs) -> Tuple[Tensor, Tensor]:
        """Labels, and the logits of the teacher's last head beside them."""
        labels = stack_labels(data_samples)
        logits = next(run.logits for run, _ in teacher_runs
                      if run.head is self.teacher._last_head)
        return labels, upsample(logits, labels.shape[1:],
                                self._last_head.align_corners)

    @property
    def _last_head(self) -> nn.Module:
        """The decode head that predicts, the last one of a cascade."""
        last = self.decode_head
        return last[-1] if isinstance(last, nn.ModuleList) else last
