"""What a metafile says of a finished run."""
import json
import os.path as osp
from glob import glob
from typing import Any, Dict, Iterator, List, Tuple

from mmengine.config import Config

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.evaluation import load_results, summary_row
from .config import load_config
from .run_state import RUN_FILE
from .scenario_config import build_scenario
from .step_config import build_step_cfg, step_dir
from .stock_config import DEPLOY_CONFIG

METRICS = ('base', 'new', 'all', 'average', 'base (no bg)', 'all (no bg)',
           'average (no bg)', 'forgetting', 'forgetting (no bg)')
# What decides on a result, beside method, architecture and data.
TRAINING = ('optim_wrapper.', 'param_scheduler.', 'train_cfg.', 'randomness.',
            'model.norm_eval', 'model.fused_losses',
            'train_dataloader.batch_size')


def model_entry(config: str, work_dir: str, data: str = '') -> Dict[str, Any]:
    """An entry of ``Models``, in the schema of MMSegmentation's metafiles.

    Device, minutes and memory are those of the later steps: one base model,
    trained by ``Base Method``, serves all methods. ``Options`` names what the
    last step had in another way than the config.

    Args:
        config (str): The config of the run.
        work_dir (str): Folder of the run.
        data (str): What was trained and evaluated on. Defaults to '', the
            name of the data set.

    Returns:
        dict: The entry, without the key 'In Collection'.

    Raises:
        IncrementalConfigError: If the run is not complete, not of this
            config, or has no figures of the official validation images.
    """
    results = load_results(work_dir)
    cfg = load_config(config, method=results['method'], work_dir=work_dir)
    held = _read_run(work_dir)
    _check(config, cfg, results['complete'], held)
    options = _options(cfg, results['steps'][-1]['step'], held)
    stem = osp.splitext(osp.basename(config))[0]
    row = summary_row(results)
    return {
        'Name':
        '_'.join([results['method'], stem, *options]),
        'Config':
        config,
        'Metadata': {
            'Method': results['method'],
            'Options': ' '.join(options),
            'Training Data': data or results['dataset'],
            'Base Method': results['conventions'].get('base_method'),
            **_cost(results['steps'][1:] or results['steps']),
        },
        'Results': [{
            'Task': 'Class-Incremental Semantic Segmentation',
            'Dataset': f'{results["dataset"]} {results["task"]} '
            f'{results["setting"]}',
            'Metrics': {
                name: round(row[name], 2)
                for name in METRICS if row[name] is not None
            }
        }]
    }


def collection_of(method: str, root: str) -> str:
    """The folder of a method, or of the one that its name begins with.

    Args:
        method (str): Name of the method, for example 'mib_ewc'.
        root (str): Folder that holds ``configs``.

    Returns:
        str: The folder's name in ``configs``, for example 'mib'.

    Raises:
        IncrementalConfigError: If there is none.
    """
    words = method.split('_')
    for count in range(len(words), 0, -1):
        name = '_'.join(words[:count])
        if osp.isfile(osp.join(root, 'configs', name, 'README.md')):
            return name
    raise IncrementalConfigError(
        f'method {method!r} has no folder in configs; add '
        f'configs/{words[0]}/README.md.')


def _read_run(work_dir: str) -> dict:
    path = osp.join(work_dir, RUN_FILE)
    if not osp.isfile(path):
        raise IncrementalConfigError(
            f'{path} does not exist; name the folder of a run of '
            'tools/train.py.')
    with open(path, encoding='utf-8') as file:
        return json.load(file)


def _check(config: str, cfg: Config, complete: bool, held: dict) -> None:
    """Refuse runs whose figures would be taken for something else."""
    if not complete:
        raise IncrementalConfigError(
            f'{cfg.work_dir} is not complete; finish it with --resume.')
    if held.get('holdout') is not None:
        raise IncrementalConfigError(
            f'{cfg.work_dir} was run with holdout={held["holdout"]}; only '
            'figures of the official validation images are recorded.')
    ours, theirs = held['scenario'], json.loads(
        json.dumps(build_scenario(cfg).to_dict()))
    for key in theirs:
        if ours.get(key) != theirs[key]:
            raise IncrementalConfigError(
                f'{cfg.work_dir} is a run with {key}={ours.get(key)!r}, but '
                f'{config} has {theirs[key]!r}; name the config it was run '
                'with.')


def _options(cfg: Config, step: int, held: dict) -> List[str]:
    """What the run had in another way than its config."""
    folder = step_dir(cfg, step)
    paths = [
        path for path in glob(osp.join(folder, '*.py'))
        if osp.basename(path) != DEPLOY_CONFIG
    ]
    if not paths:
        raise IncrementalConfigError(
            f'{folder} holds no config; name the folder of a run of '
            'tools/train.py.')
    ours = _flatten(Config.fromfile(paths[0])._cfg_dict)
    theirs = _flatten(build_step_cfg(cfg, step)._cfg_dict)
    ours, theirs = ({
        k: v
        for k, v in values if k.startswith(TRAINING)
    } for values in (ours, theirs))
    ours.update(_flatten(held['method_parts'], 'method.'))
    theirs.update(_flatten(cfg.get('method', {}), 'method.'))
    return [
        f'{key}={ours.get(key)}' for key in {
            **theirs,
            **ours
        } if ours.get(key) != theirs.get(key)
    ]


def _flatten(node: Any, prefix: str = '') -> Iterator[Tuple[str, Any]]:
    """Walk through the values of nested dicts and lists."""
    if isinstance(node, (list, tuple)):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        yield prefix[:-1], node
        return
    for key, value in node.items():
        yield from _flatten(value, f'{prefix}{key}.')


def _cost(steps: List[dict]) -> Dict[str, Any]:
    """Device, minutes and peak of the memory, None where unknown."""
    devices = {step.get('device') for step in steps}
    seconds = [step['train_seconds'] for step in steps]
    memory = [step.get('peak_memory_mb') for step in steps]
    return {
        'Device': None if None in devices else ', '.join(sorted(devices)),
        'Minutes': None if None in seconds else round(sum(seconds) / 60, 1),
        'Memory (MB)': None if None in memory else round(max(memory))
    }
