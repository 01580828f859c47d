"""What the command line changes in a config."""
import copy
import inspect
from typing import Any, Sequence

from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_incremental.errors import IncrementalConfigError, close_match

# A text config copies a variable where it is used, so changing one of these
# on the command line has to reach the copies.
FOLLOWED_KEYS = ('data_root', 'pretrained')
# What a config need not set but the command line may: of this package, and
# of MMEngine beside the arguments of its Runner.
OPTIONAL_KEYS = ('holdout', 'incremental_step', 'method', 'num_panel_images',
                 'part_options', 'profile', 'teacher', 'validate_during_step',
                 'compile', 'custom_imports', 'find_unused_parameters',
                 'model_wrapper_cfg', 'sync_bn')


def merge_options(cfg: Config, options: dict) -> None:
    """Apply ``--cfg-options``, also to copies of what they change."""
    known = sorted(
        {*cfg.keys(), *OPTIONAL_KEYS, *inspect.signature(Runner).parameters} -
        {'cfg'})
    for key, value in options.items():
        top = key.split('.')[0]
        if top not in known:
            # MMEngine would set it, and nobody would read it.
            raise IncrementalConfigError(
                f'--cfg-options {key}={value!r} sets {top!r}, which the '
                f'config does not have{close_match(top, known)}; change a '
                'key of the config.')
    if 'method.name' in options:
        raise IncrementalConfigError(
            f'--cfg-options method.name={options["method.name"]!r} would '
            'rename the method only; choose another one by --method.')
    before = {key: copy.deepcopy(cfg.get(key)) for key in FOLLOWED_KEYS}
    try:
        cfg.merge_from_dict(options)
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise IncrementalConfigError(
            f'--cfg-options {options} do not fit the config: {error}; name '
            'keys as they are nested in it.') from error
    for key, old in before.items():
        new = cfg.get(key)
        if new == old:
            continue
        if old is None:
            raise IncrementalConfigError(
                f'--cfg-options {key}={new!r} has no effect, as the config '
                f'has no {key} that its parts follow; set the key of the '
                f'part itself, such as model.backbone.init_cfg.')
        replace_value(cfg._cfg_dict, old, new)


def replace_value(node: Any, old: Any, new: Any) -> None:
    """Replace every value equal to ``old`` in nested dicts and lists."""
    items: Sequence = ()
    if isinstance(node, dict):
        items = list(node.items())
    elif isinstance(node, list):
        items = list(enumerate(node))
    for key, value in items:
        if value == old:
            node[key] = copy.deepcopy(new)
        else:
            replace_value(value, old, new)


def use_amp(cfg: Config) -> None:
    """Train in automatic mixed precision.

    Args:
        cfg (Config): Config of the run, changed in place.

    Raises:
        IncrementalConfigError: If machine or config do not allow it.
    """
    from mmengine.device import is_cuda_available, is_npu_available
    if not (is_cuda_available() or is_npu_available()):
        raise IncrementalConfigError(
            '--amp needs a GPU or NPU, which this machine lacks (MMEngine '
            'offers no mixed precision on a CPU); leave the flag out.')
    wrapper = cfg.optim_wrapper.setdefault('type', 'OptimWrapper')
    if wrapper == 'OptimWrapper':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
        later = (cfg.get('incremental_step') or {}).get('optim_wrapper', {})
        if later.get('type') == 'OptimWrapper':
            later.pop('type')
    elif wrapper != 'AmpOptimWrapper':
        raise IncrementalConfigError(
            f'--amp with optim_wrapper.type={wrapper!r} is not possible; '
            'allowed are OptimWrapper and AmpOptimWrapper.')
