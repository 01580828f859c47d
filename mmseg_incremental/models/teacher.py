"""A frozen network may run faster than one in training."""
import copy
import logging
from contextlib import nullcontext
from itertools import chain
from typing import AbstractSet, ContextManager, List, Optional, Tuple, Union

import torch
from mmcv.cnn import fuse_conv_bn
from mmengine.logging import print_log
from torch import Tensor, nn

from mmseg_incremental.errors import IncrementalConfigError, close_match

# What folding may change of the logits, relative to the largest of them.
TOLERANCE = 1e-4
# Height and width of the picture that both networks are compared on.
PROBE_SIZE = 64
DTYPES = ('float16', 'bfloat16')
# Of layers whose weights autocasting casts as a whole.
CAST_FORWARDS = (nn.Conv2d.forward, nn.ConvTranspose2d.forward,
                 nn.Linear.forward)


def fold_batch_norm(teacher: nn.Module) -> nn.Module:
    """Put BatchNorm layers into the convolutions before them.

    What is before a layer is not written in a network but found by the order
    of its modules, so the logits of both are compared, on the CPU: a GPU
    that rounds to TF32 may change more than a wrong order. Where they differ
    by more than ``TOLERANCE`` in single precision, double precision decides,
    which takes longer.

    Args:
        teacher (nn.Module): A segmentor in evaluation mode, left unchanged.

    Returns:
        nn.Module: A folded copy, or the teacher itself where that would
        predict something else.
    """
    for dtype in (torch.float32, torch.float64):
        try:
            folded, gap = _fold(teacher, dtype)
        except Exception as error:
            # Anything: modules may be out of order, look for a layer that is
            # gone or be unable to read a small picture.
            failure = f'that raises {type(error).__name__}: {error}'
            break
        # Written so that NaN is a failure.
        if gap <= TOLERANCE:
            return folded.to(next(teacher.parameters()))
        failure = f'the logits differ by {gap:.1e}'
    print_log(
        f'The teacher keeps its BatchNorm layers; without them {failure}',
        logger='current',
        level=logging.WARNING)
    return teacher


def _fold(teacher: nn.Module, dtype: torch.dtype) -> Tuple[nn.Module, float]:
    """A folded copy in a precision, and what that changes of the logits."""
    exact = teacher
    if not _is_on_cpu(teacher, dtype):
        exact = copy.deepcopy(teacher).to('cpu', dtype)
    folded = fuse_conv_bn(copy.deepcopy(exact))
    return folded, _largest_gap(exact, folded)


def _is_on_cpu(teacher: nn.Module, dtype: torch.dtype) -> bool:
    """Whether all of a network is there and in a precision already."""
    return all(tensor.device.type == 'cpu' and (
        tensor.dtype == dtype or not tensor.is_floating_point())
               for tensor in chain(teacher.parameters(), teacher.buffers()))


def _largest_gap(teacher: nn.Module, folded: nn.Module) -> float:
    """Largest difference of any head, relative to its largest logit."""
    pairs = zip(_logits_of_heads(teacher), _logits_of_heads(folded))
    gaps = [(logits - others).abs().max() / logits.abs().max()
            for logits, others in pairs]
    # Unlike Python's, it is NaN if any of them is.
    return float(torch.stack(gaps).max())


@torch.inference_mode()
def _logits_of_heads(model: nn.Module) -> List[Tensor]:
    """Logits of every head for a random picture."""
    # Some heads draw random numbers even in evaluation mode.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        probe = torch.randn(1, 3, PROBE_SIZE, PROBE_SIZE)
        probe = probe.to(next(model.parameters()))
        outputs = model.forward_heads(model.extract_feat(probe))
    return [output.logits for output in outputs]


def compile_teacher(teacher: nn.Module, options: Union[bool, dict]) -> None:
    """Compile the networks of a segmentor, in place.

    Args:
        teacher (nn.Module): The segmentor.
        options (bool | dict): Whether to, or arguments of ``torch.compile``.
    """
    if options is False or options is None:
        return
    options = {} if options is True else options
    modules = [teacher.backbone, *(head for _, head in teacher.named_heads())]
    if teacher.with_neck:
        modules.append(teacher.neck)
    for module in modules:
        module.compile(**options)


def check_compile(options: Union[bool, dict, None],
                  reads: AbstractSet[str]) -> None:
    """Refuse to compile what losses read from inside.

    Compiled code keeps the first hooks, which record for one batch alone.

    Args:
        options (bool | dict, optional): As of :func:`compile_teacher`.
        reads (set[str]): Fields of :class:`StepOutputs` that losses read.

    Raises:
        IncrementalConfigError: If there is such a field.
    """
    recorded = sorted(reads & {'stages', 'embedding'})
    if options and recorded:
        raise IncrementalConfigError(
            f'teacher.compile={options!r} is not possible where losses read '
            f'{" and ".join(recorded)} inside the network, as LocalPODLoss '
            'does; set it to False.')


def dtype_of_teacher(dtype: Optional[str]) -> Optional[torch.dtype]:
    """Find the type that a teacher computes in.

    Args:
        dtype (str, optional): Its name, None for that of the student.

    Returns:
        torch.dtype, optional: The type.

    Raises:
        IncrementalConfigError: If it is not one of ``DTYPES``.
    """
    if dtype is None:
        return None
    if dtype not in DTYPES:
        raise IncrementalConfigError(
            f'teacher.dtype={dtype!r} is unknown{close_match(dtype, DTYPES)}; '
            f'allowed are {", ".join(DTYPES)} and None, the type of the '
            'student.')
    return getattr(torch, dtype)


def cast_weights(teacher: nn.Module, dtype: Optional[torch.dtype]) -> None:
    """Cast the weights that autocasting would cast at every call, in place.

    Those that any layer uses in another way stay as they are, and so do
    normalisations.

    Args:
        teacher (nn.Module): The segmentor.
        dtype (torch.dtype, optional): As :func:`dtype_of_teacher` returns
            it.
    """
    if dtype is None:
        return
    # Layers may have a weight in common.
    others = {
        param
        for module in teacher.modules() if not _is_cast(module)
        for param in module._parameters.values()
    }
    for module in teacher.modules():
        if _is_cast(module) and module.weight not in others:
            module.to(dtype)


def _is_cast(module: nn.Module) -> bool:
    """Whether autocasting casts the weights of a layer as they are."""
    # A weight that is no parameter is computed before each call.
    return ('weight' in module._parameters
            and type(module).forward in CAST_FORWARDS)


def precision(device: str, dtype: Optional[torch.dtype]) -> ContextManager:
    """The context in which a teacher computes.

    Args:
        device (str): Type of the device.
        dtype (torch.dtype, optional): As :func:`dtype_of_teacher` returns
            it.

    Returns:
        ContextManager: Autocasting, or nothing.
    """
    if dtype is None:
        return nullcontext()
    return torch.autocast(device, dtype=dtype)
