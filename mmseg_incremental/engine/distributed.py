import atexit
from typing import Any, Callable

import torch.distributed as torch_dist
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import (broadcast_object_list, init_dist, is_distributed,
                           is_main_process)
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmseg_incremental.errors import IncrementalConfigError
from .model_config import PLAIN_NORMS, rename_types


def on_main_process(function: Callable, *args: Any) -> Any:
    """Call a function on rank 0 alone, while the other ranks wait.

    Behind a bare ``if is_main_process()`` and a barrier, an error on rank 0
    would leave the others waiting until the process group's timeout.

    Args:
        function (Callable): Writes or fetches something once for all ranks.
        *args: Its arguments.

    Returns:
        Any: What it returned, on every rank; it must be picklable.

    Raises:
        IncrementalConfigError: On every rank, if rank 0 raised one.
        RuntimeError: On the other ranks, if rank 0 raised anything else.
    """
    result = failure = None
    if is_main_process():
        try:
            result = function(*args)
        except Exception as error:
            # Anything: whatever it is, the other ranks must hear of it.
            failure = error
    message = None if failure is None else str(failure)
    bad_input = isinstance(failure, IncrementalConfigError)
    answer = [result, message, bad_input]
    broadcast_object_list(answer)
    if failure is not None:
        raise failure
    result, message, bad_input = answer
    if message is not None:
        raise (IncrementalConfigError(message)
               if bad_input else RuntimeError(f'rank 0 failed: {message}'))
    return result


def unwrap_model(runner: Runner) -> nn.Module:
    """The segmentor of a Runner, without a data-parallel wrapper.

    Args:
        runner (Runner): The runner of a step.

    Returns:
        nn.Module: The segmentor.
    """
    model = runner.model
    return model.module if is_model_wrapper(model) else model


def start_distributed(cfg: Config) -> None:
    """Start the process group that all runners of a run share.

    Without any accelerator, which MMEngine's launchers and its default
    wrapper expect, the processes talk by gloo and the model is wrapped for
    CPUs; ``cfg`` is changed for that. Batch statistics are then those of each
    process. Whoever started the process group before keeps it; the one
    started here ends with the interpreter.

    Args:
        cfg (Config): Config of the run, ``cfg.launcher`` set.

    Raises:
        IncrementalConfigError: If the launcher needs a GPU.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none':
        return
    on_cpu = get_device() == 'cpu'
    if on_cpu and launcher != 'pytorch':
        raise IncrementalConfigError(
            f'--launcher {launcher} needs a GPU on every process; without '
            'one use --launcher pytorch or none.')
    if not is_distributed():
        if on_cpu:
            print_log('No GPU: the processes talk by gloo, SyncBN becomes BN')
            torch_dist.init_process_group('gloo')
        else:
            init_dist(launcher, **cfg.get('env_cfg', {}).get('dist_cfg', {}))
        atexit.register(end_distributed)
    if not on_cpu:
        return
    rename_types(cfg.model, PLAIN_NORMS)
    cfg.setdefault(
        'model_wrapper_cfg',
        ConfigDict(
            type='MMDistributedDataParallel',
            # MMEngine would name a GPU.
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False)))


def end_distributed() -> None:
    """End the process group, if there still is one.

    Its threads must be gone before the interpreter is: one that then still
    waits for the interpreter's lock aborts the process.
    """
    if is_distributed():
        torch_dist.destroy_process_group()
