from typing import List, Optional, Union

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import HOOKS, MODELS
from torch import nn

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.models.teacher import (check_compile, compile_teacher,
                                              dtype_of_teacher,
                                              fold_batch_norm)
from ..checkpoints import check_fit, read_checkpoint
from ..device import has_fast_products, processor_name
from ..distributed import unwrap_model


@HOOKS.register_module()
class TeacherSnapshotHook(Hook):
    """Give the model its teacher: the model of the step before, frozen.

    The teacher is built before the first iteration, when the weights that
    the step starts from are in place; every rank loads the same file. It is
    no submodule of the model (see :class:`IncrementalMixin`), stays in
    evaluation mode for good, and runs only if a loss reads what it says.

    Args:
        model (dict): Model config of the step before.
        checkpoint (str): Its final checkpoint, which must fit exactly.
        fold_batch_norm (bool): Whether its BatchNorm layers are put into the
            convolutions before them, with the same result up to rounding.
            Defaults to True.
        dtype (str, optional): 'bfloat16' or 'float16' to let it compute in
            that type, whatever the student computes in. A warning tells if
            the processor is slower in it. Defaults to None.
        compile (bool | dict): Whether ``torch.compile`` is applied to it, or
            the arguments of that. Defaults to False.

    Raises:
        IncrementalConfigError: If ``dtype`` is unknown.
    """

    def __init__(self,
                 model: dict,
                 checkpoint: str,
                 fold_batch_norm: bool = True,
                 dtype: Optional[str] = None,
                 compile: Union[bool, dict] = False) -> None:
        self.model = model
        self.checkpoint = checkpoint
        self.fold_batch_norm = fold_batch_norm
        self.dtype = dtype_of_teacher(dtype)
        self.compile = compile

    def before_train(self, runner: Runner) -> None:
        """Build and load the teacher.

        Args:
            runner (Runner): The runner of the step.

        Raises:
            IncrementalConfigError: If the checkpoint cannot be read or is
                not exactly one of the model.
        """
        student = unwrap_model(runner)
        check_compile(self.compile, student.distillation.reads)
        state_dict = read_checkpoint("the teacher's checkpoint",
                                     self.checkpoint)['state_dict']
        # The student's random numbers do not depend on having a teacher.
        with torch.random.fork_rng(devices=[]):
            teacher = MODELS.build(self.model)
        # The load alone would let a classifier with fewer rows grow.
        check_fit(teacher, state_dict, f'the teacher {self.checkpoint}')
        teacher.load_state_dict(state_dict, strict=True)
        if student.shares_encoder and self.dtype is None:
            self._check_encoder(student, teacher)
        teacher.eval()
        if self.fold_batch_norm:
            teacher = fold_batch_norm(teacher)
        compile_teacher(teacher, self.compile)
        device = next(student.parameters()).device
        student.set_teacher(teacher.to(device), self.dtype)
        self._warn_if_slow(runner, device)
        runner.logger.info(
            f'Teacher: {self.checkpoint}, {student.teacher.num_classes} '
            f'classes, read by {", ".join(_readers(student))}'
            f'{_encoder_of(student)}')

    def _warn_if_slow(self, runner: Runner, device: torch.device) -> None:
        """Tell of a type that costs time instead of saving it."""
        if (device.type == 'cpu' and self.dtype is not None
                and not has_fast_products(self.dtype)):
            name = str(self.dtype).replace('torch.', '')
            runner.logger.warning(
                f'teacher.dtype={name!r} makes the teacher slower, not '
                f'faster: PyTorch has no fast kernels for that type on '
                f'{processor_name()}; set it to None.')

    def _check_encoder(self, student: nn.Module, teacher: nn.Module) -> None:
        """See that what is frozen is what the teacher has."""
        frozen, own = (
            nn.ModuleList(model.encoder_modules()).state_dict()
            for model in (teacher, student))
        differing = [
            key for key, value in own.items()
            if not torch.equal(value.cpu(), frozen[key])
        ]
        if differing:
            raise IncrementalConfigError(
                f'model.frozen_encoder=True, but {len(differing)} of '
                f'{len(own)} tensors of the encoder are not those of the '
                f'teacher {self.checkpoint}; start the step from that '
                'checkpoint, or leave frozen_encoder out.')


def _encoder_of(student: nn.Module) -> str:
    """What becomes of a frozen encoder, for the log."""
    if not student.frozen_encoder:
        return ''
    if student.shares_encoder:
        return ', with one encoder for both'
    return f', with an encoder of its own in {student.teacher_dtype}'


def _readers(student: nn.Module) -> List[str]:
    """What reads the teacher, for the log."""
    readers = [loss.loss_name for loss in student.distillation]
    if student.label_completion is not None:
        readers.append(type(student.label_completion).__name__)
    return readers
