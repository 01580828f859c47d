import json
import os.path as osp
from typing import Optional, Sequence

from mmengine.config import Config

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.evaluation.results_io import write_atomically
from .distributed import on_main_process
from .method_config import method_name
from .scenario_config import build_scenario, is_joint
from .step_config import final_checkpoint, step_dir

RUN_FILE = 'run.json'


def check_run(cfg: Config, steps: Sequence[int], resume: bool,
              base_checkpoint: Optional[str]) -> None:
    """Refuse what would lose or mix results, before anything is written.

    Args:
        cfg (Config): Config of the run.
        steps (Sequence[int]): The steps to run, ascending.
        resume (bool): Whether to go on with what is there.
        base_checkpoint (str, optional): Checkpoint that stands in for step 0.

    Raises:
        IncrementalConfigError: With what is in the way and what to do.
    """
    check_steps(cfg, steps)
    if base_checkpoint is not None and is_joint(cfg):
        raise IncrementalConfigError(
            f'--base-checkpoint {base_checkpoint} cannot be used with method '
            f'{method_name(cfg)!r}, which trains all classes in one step; '
            'leave it out.')
    check_same_run(cfg)
    finished = [
        step for step in range(len(build_scenario(cfg)))
        if osp.isfile(final_checkpoint(cfg, step))
    ]
    wanted = set(steps) | ({0} if base_checkpoint is not None else set())
    blocking = sorted(set(finished) & wanted)
    if blocking and not resume:
        raise IncrementalConfigError(
            f'{final_checkpoint(cfg, blocking[0])} exists already; pass '
            '--resume to go on, name other --steps, or choose another '
            '--work-dir.')
    started = [
        step_dir(cfg, step) for step in sorted(wanted - set(finished))
        if osp.isfile(osp.join(step_dir(cfg, step), 'last_checkpoint'))
    ]
    if started and not resume:
        raise IncrementalConfigError(
            f'{started[0]} holds an unfinished step; pass --resume to go on, '
            'remove it, or choose another --work-dir.')
    _check_chain(cfg, steps, finished, base_checkpoint)


def check_steps(cfg: Config, steps: Sequence[int]) -> None:
    """Refuse steps that the scenario does not have.

    Args:
        cfg (Config): Config of the run.
        steps (Sequence[int]): Steps that the user names.

    Raises:
        IncrementalConfigError: If there is no such step.
    """
    num_steps = len(build_scenario(cfg))
    for step in steps:
        if not 0 <= step < num_steps:
            raise IncrementalConfigError(
                f'--steps names step {step}, but task '
                f'{cfg.scenario.task!r} has the steps 0 to {num_steps - 1} '
                f'with method {method_name(cfg)!r}; choose among these.')


def _check_chain(cfg: Config, steps: Sequence[int], finished: Sequence[int],
                 base_checkpoint: Optional[str]) -> None:
    """Every step needs the one before, and none may be older than it."""
    available = set(finished) | ({0} if base_checkpoint else set())
    for step in steps:
        if step not in available and step > 0 and step - 1 not in available:
            raise IncrementalConfigError(
                f'step {step} starts from {final_checkpoint(cfg, step - 1)}, '
                'which does not exist; run the steps before it first'
                f'{" or pass --base-checkpoint" if step == 1 else ""}.')
        later = [s for s in finished if s > step]
        if step not in available and later:
            raise IncrementalConfigError(
                f'step {step} is to be trained, but '
                f'{final_checkpoint(cfg, later[0])} exists and was trained '
                f'from an earlier step {step}; remove step_{later[0]} and '
                'later, or choose another --work-dir.')
        available.add(step)


def _identity(cfg: Config) -> dict:
    """What two parts of one run must share."""
    scenario = build_scenario(cfg).to_dict()
    return json.loads(
        json.dumps(
            dict(
                method=method_name(cfg),
                method_parts=cfg.get('method', {}),
                holdout=cfg.get('holdout'),
                scenario=scenario)))


def check_same_run(cfg: Config) -> None:
    """Refuse a work dir that holds another run.

    Args:
        cfg (Config): Config of the run.

    Raises:
        IncrementalConfigError: If method or scenario differ.
    """
    path = osp.join(cfg.work_dir, RUN_FILE)
    if not osp.isfile(path):
        return
    with open(path, encoding='utf-8') as file:
        held = json.load(file)
    wanted = _identity(cfg)
    if held == wanted:
        return
    flat_held = {**held.pop('scenario'), **held}
    flat_wanted = {**wanted.pop('scenario'), **wanted}
    key = next(k for k in flat_wanted if flat_wanted[k] != flat_held.get(k))
    raise IncrementalConfigError(
        f'{cfg.work_dir} holds a run with {key}={flat_held.get(key)!r}, not '
        f'{flat_wanted[key]!r}; give --method and --cfg-options as for that '
        'run, or choose another --work-dir.')


def claim_work_dir(cfg: Config) -> None:
    """Note in ``run.json`` which run a work dir holds.

    Args:
        cfg (Config): Config of the run.
    """
    text = json.dumps(_identity(cfg), indent=2)
    on_main_process(write_atomically, f'{text}\n'.encode(),
                    osp.join(cfg.work_dir, RUN_FILE))
