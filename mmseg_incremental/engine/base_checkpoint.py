import os
import os.path as osp
from typing import List, Optional

import torch
from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from mmengine.runner.checkpoint import _load_checkpoint
from mmengine.utils import mkdir_or_exist
from mmseg.registry import MODELS

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario import ClassIncrementalScenario
from .scenario_config import build_scenario
from .step_config import (build_step_model, final_checkpoint, method_name,
                          step_dir, without_pretrained)


def read_meta(path: str) -> dict:
    """Read a checkpoint's ``meta`` without loading its weights.

    Args:
        path (str): A checkpoint of this package or of MMSegmentation.

    Returns:
        dict: Its meta data, empty if it has none.
    """
    # MMEngine's loader has no memory mapping.
    checkpoint = torch.load(
        path, map_location='cpu', mmap=True, weights_only=True)
    return checkpoint.get('meta', {})


def adopt_base_checkpoint(cfg: Config, path: str) -> None:
    """Make a checkpoint the final checkpoint of step 0.

    The classifier rows are put into the scenario's order by class name, so
    any MMSegmentation checkpoint of the model with the classes of step 0
    will do. The file itself is not changed; where step 0 is finished already
    nothing happens.

    Args:
        cfg (Config): Config of the run.
        path (str): The checkpoint.

    Raises:
        IncrementalConfigError: If it is missing or has other classes or
            another architecture.
    """
    target = final_checkpoint(cfg, 0)
    if is_main_process() and not osp.isfile(target):
        scenario = build_scenario(cfg)
        checkpoint = _read(path)
        state_dict = checkpoint.get('state_dict', checkpoint)
        meta = checkpoint.get('meta', {})
        model = MODELS.build(
            without_pretrained(build_step_model(cfg, scenario, 0)))
        _reorder(model, state_dict, _checked_names(meta, scenario, path),
                 scenario)
        try:
            model.load_state_dict(state_dict, strict=True)
        except RuntimeError as error:
            raise IncrementalConfigError(
                f'--base-checkpoint {path} does not fit the model of the '
                f'config: {error}') from error
        mkdir_or_exist(step_dir(cfg, 0))
        torch.save(
            dict(
                meta=_step_meta(cfg, meta, scenario),
                state_dict=model.state_dict()), f'{target}.partial')
        os.replace(f'{target}.partial', target)
        print_log(f'Step 0: {path} becomes {target}')
    barrier()


def _read(path: str) -> dict:
    if not osp.isfile(path):
        raise IncrementalConfigError(
            f'--base-checkpoint {path} does not exist; name a checkpoint '
            '(.pth) of the classes of step 0.')
    return _load_checkpoint(path, map_location='cpu')


def _checked_names(meta: dict, scenario: ClassIncrementalScenario,
                   path: str) -> Optional[List[str]]:
    """Class names of a checkpoint, None where it does not tell."""
    names = meta.get('dataset_meta') or {}
    names = names.get('classes', names.get('CLASSES'))
    wanted = scenario.names(scenario.seen(0))
    if names is None:
        print_log(f'{path} names no classes: its classifier rows are taken '
                  f'for {", ".join(wanted)}')
        return None
    missing = sorted(set(wanted) - set(names))
    foreign = sorted(set(names) - set(wanted))
    if missing or foreign:
        raise IncrementalConfigError(
            f'--base-checkpoint {path} has other classes than step 0: it '
            f'lacks {missing} and has {foreign} besides; allowed is a '
            f'checkpoint of exactly {list(wanted)}.')
    return list(names)


def _reorder(model: torch.nn.Module, state_dict: dict,
             names: Optional[List[str]],
             scenario: ClassIncrementalScenario) -> None:
    wanted = list(scenario.names(scenario.seen(0)))
    if names is not None and names != wanted:
        model.grow_state_dict(state_dict, names, wanted)


def _step_meta(cfg: Config, meta: dict,
               scenario: ClassIncrementalScenario) -> dict:
    """Meta data in the order of the scenario; what training took is kept."""
    seen = scenario.names(scenario.seen(0))
    dataset_meta = dict(meta.get('dataset_meta') or {})
    names = dataset_meta.get('classes')
    if names is not None and dataset_meta.get('palette') is not None:
        colours = dict(zip(names, dataset_meta['palette']))
        dataset_meta['palette'] = [colours[name] for name in seen]
    dataset_meta['classes'] = seen
    trained = meta.get('incremental', {})
    info = dict(
        step=0,
        method=method_name(cfg),
        scenario=scenario.to_dict(),
        num_train_images=trained.get('num_train_images'),
        train_seconds=trained.get('train_seconds'))
    return dict(meta, dataset_meta=dataset_meta, incremental=info)
