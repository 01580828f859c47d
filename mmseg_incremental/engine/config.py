import os.path as osp
from glob import glob
from typing import Any, Dict, Optional

from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope

from mmseg_incremental.errors import IncrementalConfigError, close_match
from mmseg_incremental.host import configs_root
from .cfg_options import merge_options, replace_value, use_amp
from .part_options import apply_part_options
from .scenario_config import leaf_datasets

PACKAGE = 'mmseg_incremental'


def load_config(path: str,
                method: Optional[str] = None,
                cfg_options: Optional[dict] = None,
                work_dir: Optional[str] = None,
                amp: bool = False) -> Config:
    """Read an incremental config and apply the command line to it.

    Args:
        path (str): Config file, or ``mmseg_incremental::...``.
        method (str, optional): File name of a config in
            ``_base_/methods``, which replaces the config's method unless it
            is the same. Defaults to None, the config's method.
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
    _choose_method(cfg, method, cfg_options or {})
    if amp:
        use_amp(cfg)
    if work_dir is not None:
        cfg.work_dir = work_dir
    elif cfg.get('work_dir') is None:
        name = osp.splitext(osp.basename(path))[0]
        name += f'_{cfg.method.name}' if method is not None else ''
        cfg.work_dir = osp.join('work_dirs', name)
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    return cfg


def _choose_method(cfg: Config, name: Optional[str],
                   cfg_options: dict) -> None:
    """Apply ``--method`` and the options of the command line, in place."""
    if name is not None and name != cfg.get('method', {}).get('name'):
        cfg.method = load_method(name)
    merge_options(cfg, cfg_options)
    for key in ('scenario', 'method'):
        if not isinstance(cfg.get(key, {}), dict):
            raise IncrementalConfigError(
                f'{key}={cfg[key]!r} is no dict; set its keys, for example '
                "scenario.task='15-1', and choose a method by --method.")
    if cfg.get('method') is None:
        return
    name = cfg.method.get('name')
    is_shipped = name in method_files()
    apply_part_options(cfg, load_method(name) if is_shipped else {})
    # The command line has the last word.
    merge_options(
        cfg, {
            key: value
            for key, value in cfg_options.items() if key.startswith('method.')
        })


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
        replace_value(cfg._cfg_dict, used, wanted)


def load_method(name: str) -> dict:
    """Read a method from the shipped ``_base_/methods``.

    Args:
        name (str): File name without its ending, for example 'mib'.

    Returns:
        dict: The config's ``method``.

    Raises:
        IncrementalConfigError: If there is no such file.
    """
    known = method_files()
    if name not in known:
        raise IncrementalConfigError(
            f'--method {name!r} is unknown{close_match(name, known)}; allowed '
            f'are {", ".join(known)}, the files in configs/_base_/methods.')
    return _read(known[name]).method


def method_files() -> Dict[str, str]:
    """The files of the shipped methods.

    Returns:
        dict[str, str]: Paths by the names that ``--method`` takes, sorted.
    """
    paths = glob(osp.join(configs_root(), '_base_', 'methods', '*.py'))
    return {osp.splitext(osp.basename(p))[0]: p for p in sorted(paths)}


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
