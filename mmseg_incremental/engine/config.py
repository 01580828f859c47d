import copy
import inspect
import os.path as osp
from glob import glob
from typing import Any, Optional, Sequence

from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmseg_incremental.class_orders import close_match
from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.host import configs_root
from .scenario_config import leaf_datasets

PACKAGE = 'mmseg_incremental'
# A text config copies a variable where it is used, so changing one of these
# on the command line has to reach the copies.
FOLLOWED_KEYS = ('data_root', 'pretrained')
# What a config need not set but the command line may: of this package, and
# of MMEngine beside the arguments of its Runner.
OPTIONAL_KEYS = ('holdout', 'incremental_step', 'method', 'num_panel_images',
                 'validate_during_step', 'compile', 'custom_imports',
                 'find_unused_parameters', 'model_wrapper_cfg', 'sync_bn')


def load_config(path: str,
                method: Optional[str] = None,
                cfg_options: Optional[dict] = None,
                work_dir: Optional[str] = None,
                amp: bool = False) -> Config:
    """Read an incremental config and apply the command line to it.

    Args:
        path (str): Config file, or ``mmseg_incremental::...``.
        method (str, optional): File name of a config in
            ``_base_/methods``, which replaces the config's method. Defaults
            to None. The config's own method keeps what the config sets.
        cfg_options (dict, optional): Dotted keys and values as MMEngine's
            ``DictAction`` gives them. Defaults to None.
        work_dir (str, optional): Directory of the run. Defaults to None:
            ``cfg.work_dir``, else ``work_dirs/<config>[_<method>]``.
        amp (bool): Whether to train in automatic mixed precision. Defaults to
            False.

    Returns:
        Config: The config of the whole run, before any step.

    Raises:
        IncrementalConfigError: If a file or key is not usable.
    """
    cfg = _read(path)
    if 'scenario' not in cfg:
        raise IncrementalConfigError(
            f'{path} has no key "scenario", for example '
            "scenario=dict(task='15-1', setting='overlapped'); MMSeg's own "
            'tools/train.py runs configs without steps.')
    _check_parts(cfg, path)
    _follow_data_root(cfg)
    base_method = cfg.get('method', {}).get('name')
    if method is not None and method != base_method:
        cfg.method = load_method(method)
    _merge(cfg, cfg_options or {})
    for key in ('scenario', 'method'):
        if not isinstance(cfg.get(key, {}), dict):
            raise IncrementalConfigError(
                f'{key}={cfg[key]!r} is no dict; set its keys, for example '
                "scenario.task='15-1', and choose a method by --method.")
    if amp:
        _use_amp(cfg)
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(path))[0]
        name += f'_{cfg.method.name}' if method is not None else ''
        cfg.work_dir = osp.join('work_dirs', name)
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    return cfg


def _check_parts(cfg: Config, path: str) -> None:
    """See that a config has the data set that names the classes."""
    loader = cfg.get('train_dataloader')
    if not isinstance(loader, dict) or 'dataset' not in loader:
        raise IncrementalConfigError(
            f'{path} has train_dataloader={loader!r}; set it to a dict with '
            'the key "dataset", as in the configs of MMSegmentation.')


def _follow_data_root(cfg: Config) -> None:
    """Let a config that inherits its datasets move them by one key."""
    dataset = next(leaf_datasets(cfg.train_dataloader.dataset))
    used = dataset.get('dataset', dataset).get('data_root')
    wanted = cfg.get('data_root')
    if None not in (used, wanted) and used != wanted:
        _replace(cfg._cfg_dict, used, wanted)


def load_method(name: str) -> dict:
    """Read a method from the shipped ``_base_/methods``.

    Args:
        name (str): File name without its ending, for example 'mib'.

    Returns:
        dict: The config's ``method``.

    Raises:
        IncrementalConfigError: If there is no such file.
    """
    folder = osp.join(configs_root(), '_base_', 'methods')
    known = sorted(
        osp.splitext(osp.basename(p))[0]
        for p in glob(osp.join(folder, '*.py')))
    if name not in known:
        raise IncrementalConfigError(
            f'--method {name!r} is unknown{close_match(name, known)}; allowed '
            f'are {", ".join(known)}, the files in configs/_base_/methods.')
    return _read(osp.join(folder, f'{name}.py')).method


def _read(path: str) -> Config:
    if '::' not in path and not osp.isfile(path):
        raise IncrementalConfigError(
            f'config {path!r} does not exist; the shipped ones are in '
            f'{osp.join(configs_root(), "incremental")}.')
    try:
        cfg = get_config(path) if '::' in path else Config.fromfile(path)
    except Exception as error:
        # Anything: a config is code.
        raise IncrementalConfigError(
            f'config {path!r} cannot be read, correct it: '
            f'{type(error).__name__}: {error}') from error
    _drop_own_scope(cfg._cfg_dict)
    return cfg


def _drop_own_scope(node: Any) -> None:
    """Undo MMEngine's note that a part comes from a config of this package.

    It would look for the part, and for all inside it, in a registry of that
    name, but they are registered in those of MMSegmentation.
    """
    if isinstance(node, dict):
        if node.get('_scope_') == PACKAGE:
            node.pop('_scope_')
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for item in node:
            _drop_own_scope(item)


def _merge(cfg: Config, options: dict) -> None:
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
        _replace(cfg._cfg_dict, old, new)


def _replace(node: Any, old: Any, new: Any) -> None:
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
            _replace(value, old, new)


def _use_amp(cfg: Config) -> None:
    from mmengine.device import is_cuda_available, is_npu_available
    if not (is_cuda_available() or is_npu_available()):
        raise IncrementalConfigError(
            '--amp needs a GPU or NPU, which this machine lacks (MMEngine '
            'offers no mixed precision on a CPU); leave the flag out.')
    wrapper = cfg.optim_wrapper.setdefault('type', 'OptimWrapper')
    if wrapper == 'OptimWrapper':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.loss_scale = 'dynamic'
    elif wrapper != 'AmpOptimWrapper':
        raise IncrementalConfigError(
            f'--amp with optim_wrapper.type={wrapper!r} is not possible; '
            'allowed are OptimWrapper and AmpOptimWrapper.')
