import logging
import os.path as osp
import shutil
from typing import List, Optional, Sequence

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.utils import mkdir_or_exist
from mmseg.registry import MODELS

from mmseg_incremental.datasets.holdout import DEFAULT_SPLIT
from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.scenario import ClassIncrementalScenario
from .checkpoints import (check_fit, checkpoint_classes, read_checkpoint,
                          save_atomically)
from .method_config import method_name
from .model_config import without_pretrained
from .regularizers import importance_beside
from .scenario_config import build_scenario
from .step_config import build_step_cfg, final_checkpoint, step_dir
from .stock_config import DEPLOY_CONFIG, write_deploy_config

# What a checkpoint says of the training of step 0.
KEPT_META = ('num_train_images', 'train_seconds', 'peak_memory_mb', 'device',
             'holdout', 'pretrained_left_out')


def prepare_base_checkpoint(cfg: Config, path: str) -> dict:
    """Make the final checkpoint of step 0 of a trained model.

    The classifier rows are put into the scenario's order by class name, so
    any MMSegmentation checkpoint of the model with the classes of step 0
    will do. Nothing is written.

    Args:
        cfg (Config): Config of the run.
        path (str): The checkpoint.

    Returns:
        dict: 'meta' and 'state_dict' for :func:`adopt_base_checkpoint`.

    Raises:
        IncrementalConfigError: If it is missing or has other classes or
            another architecture.
    """
    option = '--base-checkpoint'
    scenario = build_scenario(cfg)
    wanted = scenario.names(scenario.seen(0))
    checkpoint = read_checkpoint(option, path)
    names = _checked_names(checkpoint, wanted, f'{option} {path}')
    _check_holdout(cfg, checkpoint['meta'], f'{option} {path}')
    _warn_of_other_loss(cfg, checkpoint['meta'], f'{option} {path}')
    model_cfg = build_step_cfg(cfg, 0).model
    check_fit(model_cfg, checkpoint['state_dict'], f'{option} {path}')
    reordered = names is not None and names != list(wanted)
    if reordered:
        _check_order_of_importance(cfg, path)
        model = MODELS.build(without_pretrained(model_cfg))
        model.grow_state_dict(checkpoint['state_dict'], names, wanted)
    meta = _step_meta(cfg, checkpoint['meta'], scenario)
    meta['incremental']['reordered'] = reordered
    return dict(meta=meta, state_dict=checkpoint['state_dict'])


def adopt_base_checkpoint(cfg: Config, checkpoint: dict, path: str) -> None:
    """Write the work dir of step 0 as training would have left it.

    To be called by one process alone.

    Args:
        cfg (Config): Config of the run.
        checkpoint (dict): What :func:`prepare_base_checkpoint` returned.
        path (str): Where it was read. What the weight regularizers of its
            run have left beside it is taken over.
    """
    target = final_checkpoint(cfg, 0)
    mkdir_or_exist(step_dir(cfg, 0))
    write_deploy_config(
        build_step_cfg(cfg, 0), osp.join(step_dir(cfg, 0), DEPLOY_CONFIG))
    importance = importance_beside(path)
    # Its rows are in the order that the checkpoint had.
    reordered = checkpoint['meta']['incremental']['reordered']
    if osp.isfile(importance) and not reordered:
        shutil.copy(importance, importance_beside(target))
    save_atomically(checkpoint, target)
    print_log(f'Step 0: the base checkpoint becomes {target}')


def _check_order_of_importance(cfg: Config, path: str) -> None:
    """Refuse an importance file of another order than this run's."""
    importance = importance_beside(path)
    regularizers = cfg.get('method', {}).get('weight_regularizers')
    if regularizers and osp.isfile(importance):
        raise IncrementalConfigError(
            f'{importance} lists its classes in another order than step 0 of '
            'this run; give a base checkpoint in the order of the '
            'scenario, or set scenario.class_order to its order.')


def _checked_names(checkpoint: dict, wanted: Sequence[str],
                   what: str) -> Optional[List[str]]:
    """Class names of a checkpoint, None where it does not tell."""
    names = checkpoint_classes(checkpoint)
    if names is None:
        print_log(f'{what} names no classes: its classifier rows are taken '
                  f'for {", ".join(wanted)}')
        return None
    missing = sorted(set(wanted) - set(names))
    foreign = sorted(set(names) - set(wanted))
    if missing or foreign:
        raise IncrementalConfigError(
            f'{what} has other classes than step 0: it lacks {missing} and '
            f'has {foreign} besides; allowed is a checkpoint of exactly '
            f'{list(wanted)}.')
    return names


def _check_holdout(cfg: Config, meta: dict, what: str) -> None:
    """Refuse a model that has seen what the run holds out."""
    if cfg.get('holdout') is None:
        return
    trained = meta.get('incremental', {})
    if 'holdout' not in trained:
        print_log(f'{what} does not say what it was trained on: it may have '
                  'seen the held-out images')
    elif _split_of(trained['holdout']) != _split_of(cfg.holdout):
        raise IncrementalConfigError(
            f'{what} was trained with holdout={trained["holdout"]!r}, so it '
            f'has seen images that holdout={dict(cfg.holdout)!r} keeps for '
            'the comparison; train step 0 with this holdout.')


def _warn_of_other_loss(cfg: Config, meta: dict, what: str) -> None:
    """Say so where the method would have trained step 0 in another way."""
    loss = cfg.get('method', {}).get('base_classification')
    trained_by = meta.get('incremental', {}).get('method')
    if loss is None or trained_by == method_name(cfg):
        return
    print_log(
        f'{what} was trained by {trained_by or "another program"}, where '
        f'{method_name(cfg)} has {loss.type} at step 0 already; leave the '
        'option out to train step 0 as the method does.',
        level=logging.WARNING)


def _split_of(holdout: Optional[dict]) -> Optional[dict]:
    """Arguments of a split, written out; None without one."""
    return None if holdout is None else {**DEFAULT_SPLIT, **holdout}


def _step_meta(cfg: Config, meta: dict,
               scenario: ClassIncrementalScenario) -> dict:
    """Meta data in the order of the scenario; what training took is kept."""
    seen = scenario.names(scenario.seen(0))
    dataset_meta = dict(meta.get('dataset_meta') or {})
    names = dataset_meta.pop('CLASSES', dataset_meta.get('classes'))
    palette = dataset_meta.pop('PALETTE', dataset_meta.get('palette'))
    if names is not None and palette is not None:
        colours = dict(zip(names, palette))
        dataset_meta['palette'] = [colours[name] for name in seen]
    dataset_meta['classes'] = seen
    trained = meta.get('incremental', {})
    info = dict(
        step=0,
        method=method_name(cfg),
        scenario=scenario.to_dict(),
        base_method=trained.get('method'))
    info.update((key, trained[key]) for key in KEPT_META if key in trained)
    return dict(meta, dataset_meta=dataset_meta, incremental=info)
