import torch.distributed as torch_dist
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import init_dist, is_distributed
from mmengine.logging import print_log

from mmseg_incremental.errors import IncrementalConfigError
from .step_model import PLAIN_NORMS, rename_types


def start_distributed(cfg: Config) -> None:
    """Start the process group that all runners of a run share.

    Without any accelerator, which MMEngine's launchers and its default
    wrapper expect, the processes talk by gloo and the model is wrapped for
    CPUs; ``cfg`` is changed for that. Batch statistics are then those of each
    process.

    Args:
        cfg (Config): Config of the run, ``cfg.launcher`` set.

    Raises:
        IncrementalConfigError: If the launcher needs a GPU.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none':
        return
    if get_device() != 'cpu':
        if not is_distributed():
            init_dist(launcher, **cfg.get('env_cfg', {}).get('dist_cfg', {}))
        return
    if launcher != 'pytorch':
        raise IncrementalConfigError(
            f'--launcher {launcher} needs a GPU on every process; without '
            'one use --launcher pytorch or none.')
    if not is_distributed():
        print_log('No GPU: the processes talk by gloo, SyncBN becomes BN')
        torch_dist.init_process_group('gloo')
    rename_types(cfg.model, PLAIN_NORMS)
    cfg.setdefault(
        'model_wrapper_cfg',
        ConfigDict(
            type='MMDistributedDataParallel',
            # MMEngine would name a GPU.
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False)))
