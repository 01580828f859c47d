import copy
import os.path as osp
from typing import Optional, Sequence

from mmengine.config import Config
from mmengine.logging import print_log

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.evaluation import results_table, step_table
from .base_checkpoint import adopt_base_checkpoint, prepare_base_checkpoint
from .checkpoints import check_fit, checkpoint_classes, read_checkpoint
from .data_check import check_data
from .distributed import on_main_process, start_distributed
from .pretrained import resolve_pretrained
from .profile import save_profile, start_profile, stop_phase
from .regularizers import check_importance
from .run_check import check_models
from .run_results import collect_results, report, save_evaluation
from .run_state import check_run, check_same_run, check_steps, claim_work_dir
from .scenario_config import build_scenario
from .step import evaluate_step, train_step
from .step_config import build_step_cfg, final_checkpoint, step_dir


def run_steps(cfg: Config,
              steps: Optional[Sequence[int]] = None,
              resume: bool = False,
              base_checkpoint: Optional[str] = None) -> dict:
    """Train and evaluate the steps of a run, one ordinary Runner each.

    Args:
        cfg (Config): Config of the run, see :func:`load_config`.
        steps (Sequence[int], optional): The steps to run. Defaults to None:
            all of them.
        resume (bool): Go on with what the work dir holds: finished steps stay
            as they are, an unfinished one continues at its last checkpoint.
            Defaults to False.
        base_checkpoint (str, optional): Checkpoint that stands in for step 0.
            Defaults to None.

    Returns:
        dict: The content of ``results.json``.

    Raises:
        IncrementalConfigError: If the work dir holds another run or results
            that would be overwritten, or an input does not fit.
    """
    cfg = copy.deepcopy(cfg)
    start_profile(cfg)
    try:
        return _run_steps(cfg, steps, resume, base_checkpoint)
    finally:
        save_profile(cfg)


def _run_steps(cfg: Config, steps: Optional[Sequence[int]], resume: bool,
               base_checkpoint: Optional[str]) -> dict:
    start_distributed(cfg)
    if steps is None:
        steps = range(len(build_scenario(cfg)))
    steps = sorted(set(steps))
    check_run(cfg, steps, resume, base_checkpoint)
    check_models(cfg, steps)
    with check_data(cfg, steps) as loaders:
        _start(cfg, steps, base_checkpoint)
        stop_phase(cfg, 'checks')
        results = {}
        for step in steps:
            if not _exists(final_checkpoint(cfg, step)):
                train_step(cfg, step, resume, loaders)
                stop_phase(cfg, 'release')
            if not _exists(osp.join(step_dir(cfg, step), 'results.json')):
                metrics = evaluate_step(cfg, step, loaders=loaders)
                stop_phase(cfg, 'evaluation: release')
                save_evaluation(cfg, step, metrics)
            results = collect_results(cfg)
            stop_phase(cfg, 'results')
        on_main_process(report, cfg, results)
    stop_phase(cfg, 'report')
    return results


def _exists(path: str) -> bool:
    """Whether a file exists, with one answer for all ranks."""
    return on_main_process(osp.isfile, path)


def _start(cfg: Config, steps: Sequence[int],
           base_checkpoint: Optional[str]) -> None:
    """Take the work dir, and what the first step starts from."""
    base = None
    if _exists(final_checkpoint(cfg, 0)):
        if base_checkpoint is not None:
            print_log(f'{final_checkpoint(cfg, 0)} exists: '
                      f'--base-checkpoint {base_checkpoint} is not read')
    else:
        if base_checkpoint is not None:
            base = prepare_base_checkpoint(cfg, base_checkpoint)
        elif 0 in steps:
            cfg.pretrained_left_out = resolve_pretrained(cfg)
    first = next((s for s in steps if not _exists(final_checkpoint(cfg, s))),
                 None)
    if base is not None:
        check_importance(cfg, base_checkpoint)
    elif first:
        check_importance(cfg, final_checkpoint(cfg, first - 1))
    claim_work_dir(cfg)
    if base is not None:
        on_main_process(adopt_base_checkpoint, cfg, base, base_checkpoint)


def evaluate_steps(cfg: Config,
                   steps: Optional[Sequence[int]] = None,
                   checkpoint: Optional[str] = None) -> str:
    """Evaluate trained steps again and keep what they give.

    Args:
        cfg (Config): Config of the run.
        steps (Sequence[int], optional): Defaults to None: every step that is
            trained.
        checkpoint (str, optional): Evaluate this file in place of the final
            checkpoint of the one step named; nothing is kept then. Defaults
            to None.

    Returns:
        str: Tables of the results.

    Raises:
        IncrementalConfigError: If a step is not trained.
    """
    cfg = copy.deepcopy(cfg)
    # The clock is one of runs that train.
    cfg.profile = False
    start_distributed(cfg)
    every = range(len(build_scenario(cfg)))
    trained = [s for s in every if osp.isfile(final_checkpoint(cfg, s))]
    steps = trained if steps is None else steps
    check_steps(cfg, steps)
    if checkpoint is not None:
        if len(steps) != 1:
            raise IncrementalConfigError(
                f'--checkpoint {checkpoint} with the steps {list(steps)} is '
                'not possible; name with --steps the one step it belongs to.')
        _check_checkpoint(cfg, steps[0], checkpoint)
        metrics = evaluate_step(cfg, steps[0], checkpoint)
        return '\n'.join(f'{k}: {v:.2f}' for k, v in metrics.items())
    missing = [s for s in steps if s not in trained]
    if missing or not steps:
        raise IncrementalConfigError(
            f'{final_checkpoint(cfg, (missing or [0])[0])} does not exist; '
            'train the step first, or name with --work-dir the run that has '
            'it.')
    check_same_run(cfg)
    with check_data(cfg, steps) as loaders:
        for step in steps:
            metrics = evaluate_step(cfg, step, loaders=loaders)
            save_evaluation(cfg, step, metrics)
    results = collect_results(cfg)
    return f'{step_table(results)}\n{results_table(results)}'


def _check_checkpoint(cfg: Config, step: int, path: str) -> None:
    """See that a file is of a step's classes and model, in that order."""
    scenario = build_scenario(cfg)
    checkpoint = read_checkpoint('--checkpoint', path)
    names = checkpoint_classes(checkpoint)
    seen = list(scenario.names(scenario.seen(step)))
    if names not in (None, seen):
        raise IncrementalConfigError(
            f'--checkpoint {path} has the classes {names}, but step {step} '
            f'has {seen}, in this order; name the step it belongs to.')
    check_fit(
        build_step_cfg(cfg, step).model, checkpoint['state_dict'],
        f'--checkpoint {path}')
