import copy
import gc
import os.path as osp
from contextlib import contextmanager
from typing import Iterator, Optional, Sequence

import torch
from mmengine.config import Config
from mmengine.dist import (barrier, get_world_size, init_dist, is_distributed,
                           is_main_process)
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.runner.checkpoint import find_latest_checkpoint
from mmseg.registry import DATASETS

from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.evaluation import (build_results, load_step_records,
                                          results_table, save_step_record,
                                          step_record, step_table,
                                          write_report, write_results)
from .base_checkpoint import adopt_base_checkpoint, read_meta
from .panel import prepare_panel
from .pretrained import resolve_pretrained
from .run_state import check_run, claim_work_dir
from .scenario_config import build_scenario, dataset_name
from .step_config import (build_step_cfg, build_test_cfg, final_checkpoint,
                          method_name, step_dir)


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
    start_distributed(cfg)
    num_steps = len(build_scenario(cfg))
    steps = list(range(num_steps)) if steps is None else sorted(set(steps))
    check_run(cfg, steps, resume, base_checkpoint)
    for step in steps:
        build_step_cfg(cfg, step)
    if 0 in steps and base_checkpoint is None:
        cfg = copy.deepcopy(cfg)
        cfg.pretrained_left_out = resolve_pretrained(cfg)
    claim_work_dir(cfg)
    if base_checkpoint is not None:
        adopt_base_checkpoint(cfg, base_checkpoint)
    results = {}
    for step in steps:
        if not osp.isfile(final_checkpoint(cfg, step)):
            train_step(cfg, step, resume)
        if not osp.isfile(osp.join(step_dir(cfg, step), 'results.json')):
            save_evaluation(cfg, step, evaluate_step(cfg, step))
        results = collect_results(cfg)
    if is_main_process():
        report(cfg, results)
    barrier()
    return results


def train_step(cfg: Config, step: int, resume: bool = False) -> None:
    """Train one step to its ``final.pth``.

    Args:
        cfg (Config): Config of the run.
        step (int): The step, counted from 0.
        resume (bool): Whether to continue at the latest checkpoint of the
            step, if there is one. Defaults to False.
    """
    step_cfg = build_step_cfg(cfg, step)
    _keep_small_batch(step_cfg)
    latest = latest_checkpoint(step_cfg.work_dir) if resume else None
    if latest is not None:
        step_cfg.resume, step_cfg.load_from = True, latest
    with fresh_runner(step_cfg) as runner:
        runner.train()


def _keep_small_batch(step_cfg: Config) -> None:
    """Do not drop the only batch of a step with few images."""
    loader = step_cfg.train_dataloader
    if loader.get('drop_last'):
        images = len(DATASETS.build(loader.dataset))
        if images < loader.batch_size * get_world_size():
            print_log(
                f'{images} images are less than a batch of '
                f'{loader.batch_size} on each device: drop_last is off',
                logger='current')
            loader.drop_last = False


def evaluate_step(cfg: Config,
                  step: int,
                  checkpoint: Optional[str] = None) -> dict:
    """Evaluate one step over all classes seen so far.

    Args:
        cfg (Config): Config of the run.
        step (int): The step, counted from 0.
        checkpoint (str, optional): Defaults to None: the step's own.

    Returns:
        dict: Percentages of :class:`IncrementalIoUMetric`.
    """
    test_cfg = build_test_cfg(cfg, step, checkpoint)
    hook = prepare_panel(cfg, step)
    if hook is not None:
        test_cfg.custom_hooks.append(hook)
    with fresh_runner(test_cfg) as runner:
        return runner.test()


def save_evaluation(cfg: Config, step: int, metrics: dict) -> None:
    """Write a step's record beside its checkpoint.

    Args:
        cfg (Config): Config of the run.
        step (int): The step, counted from 0.
        metrics (dict): What :func:`evaluate_step` returned.
    """
    scenario = build_scenario(cfg)
    if is_main_process():
        info = read_meta(final_checkpoint(cfg, step)).get('incremental', {})
        save_step_record(
            step_dir(cfg, step),
            step_record(
                step,
                scenario.names(scenario.new(step)),
                scenario.names(scenario.seen(step)),
                info.get('num_train_images'),
                metrics,
                train_seconds=info.get('train_seconds')))
    barrier()


def collect_results(cfg: Config) -> dict:
    """Gather the records of all finished steps and write the result files.

    Args:
        cfg (Config): Config of the run.

    Returns:
        dict: The content of ``results.json``.
    """
    scenario = build_scenario(cfg)
    # A joint run is compared class group by class group with the others.
    groups = build_scenario(cfg, joint=False)
    base = groups.names(groups.seen(0))
    learned = groups.names(groups.seen(len(groups) - 1))
    task = cfg.scenario.task
    records = load_step_records(cfg.work_dir)
    trained = read_meta(final_checkpoint(cfg, 0)).get('incremental', {})
    header = dict(
        task=task if isinstance(task, str) else 'custom',
        setting=groups.setting,
        method=method_name(cfg),
        dataset=dataset_name(cfg),
        class_names=list(scenario.class_names),
        conventions=dict(
            scenario.conventions,
            pretrained=trained.get('pretrained_left_out') or 'as configured'))
    results = build_results(header, records, base, learned[len(base):],
                            len(scenario))
    if is_main_process():
        write_results(results, cfg.work_dir)
    barrier()
    return results


def report(cfg: Config, results: dict) -> None:
    """Print the tables and draw the pictures of a run.

    Args:
        cfg (Config): Config of the run.
        results (dict): The content of ``results.json``.
    """
    pictures = write_report(cfg.work_dir, results)
    print(step_table(results))
    print(results_table(results))
    print(f'Results: {osp.join(cfg.work_dir, "results.json")}')
    for path in pictures:
        print(f'Picture: {path}')


@contextmanager
def fresh_runner(cfg: Config) -> Iterator[Runner]:
    """Build a Runner for one step and free all it holds afterwards.

    Args:
        cfg (Config): Config of one step.

    Yields:
        Runner: The runner.
    """
    runner = Runner.from_cfg(cfg)
    try:
        yield runner
    finally:
        if getattr(runner, 'visualizer', None) is not None:
            runner.visualizer.close()
        del runner
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def latest_checkpoint(work_dir: str) -> Optional[str]:
    """Find where an interrupted step goes on.

    Args:
        work_dir (str): Work dir of the step.

    Returns:
        str, optional: The latest checkpoint, also if the directory has been
        moved since; None if there is none.
    """
    if not osp.isfile(osp.join(work_dir, 'last_checkpoint')):
        return None
    saved = find_latest_checkpoint(work_dir)
    # MMEngine notes an absolute path.
    moved = osp.join(work_dir, osp.basename(saved))
    for path in (moved, saved):
        if osp.isfile(path):
            return path
    raise IncrementalConfigError(
        f'{work_dir}/last_checkpoint names {saved}, which does not exist; '
        'put the file back, or remove the directory to train the step anew.')


def start_distributed(cfg: Config) -> None:
    """Start the process group that all runners of a run share.

    Args:
        cfg (Config): Config of the run, ``cfg.launcher`` set.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none' or is_distributed():
        return
    dist_cfg = dict(cfg.get('env_cfg', {}).get('dist_cfg') or {})
    if dist_cfg.get('backend', 'nccl') == 'nccl' and not (
            torch.cuda.is_available()):
        print_log('No GPU: the gloo backend takes the place of nccl')
        dist_cfg['backend'] = 'gloo'
    init_dist(launcher, **dist_cfg)


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
    start_distributed(cfg)
    every = range(len(build_scenario(cfg)))
    trained = [s for s in every if osp.isfile(final_checkpoint(cfg, s))]
    steps = trained if steps is None else steps
    if checkpoint is not None:
        if len(steps) != 1 or not osp.isfile(checkpoint):
            raise IncrementalConfigError(
                f'--checkpoint {checkpoint} with the steps {list(steps)} is '
                'not possible; name an existing file and, with --steps, the '
                'one step it belongs to.')
        metrics = evaluate_step(cfg, steps[0], checkpoint)
        return '\n'.join(f'{k}: {v:.2f}' for k, v in metrics.items())
    missing = [s for s in steps if s not in trained]
    if missing or not steps:
        raise IncrementalConfigError(
            f'{final_checkpoint(cfg, (missing or [0])[0])} does not exist; '
            'train the step first, or name with --work-dir the run that has '
            'it.')
    check_run(cfg, [], resume=True, base_checkpoint=None)
    for step in steps:
        save_evaluation(cfg, step, evaluate_step(cfg, step))
    results = collect_results(cfg)
    return f'{step_table(results)}\n{results_table(results)}'
