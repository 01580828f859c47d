"""From evaluations to the results files of a run."""
import os.path as osp
from functools import partial
from pathlib import Path

from mmengine.config import Config

from mmseg_incremental.evaluation import (build_results, load_step_records,
                                          results_table, save_step_record,
                                          step_record, step_table,
                                          write_report, write_results)
from .checkpoints import read_meta
from .distributed import on_main_process
from .method_config import method_name
from .scenario_config import build_scenario, dataset_name
from .step_config import final_checkpoint, step_dir
from .step_data import describe_resize


def save_evaluation(cfg: Config, step: int, metrics: dict) -> None:
    """Write a step's record beside its checkpoint.

    Args:
        cfg (Config): Config of the run.
        step (int): The step, counted from 0.
        metrics (dict): What :func:`evaluate_step` returned.
    """
    scenario = build_scenario(cfg)
    info = read_meta(final_checkpoint(cfg, step)).get('incremental', {})
    record = step_record(
        step,
        scenario.names(scenario.new(step)),
        scenario.names(scenario.seen(step)),
        info.get('num_train_images'),
        metrics,
        train_seconds=info.get('train_seconds'),
        peak_memory_mb=info.get('peak_memory_mb'),
        device=info.get('device'))
    on_main_process(save_step_record, step_dir(cfg, step), record)


def drop_evaluation(folder: str) -> None:
    """Remove the record of a step that is about to be trained.

    It would be one of weights that are gone.

    Args:
        folder (str): Work dir of the step.
    """
    record = Path(folder, 'results.json')
    on_main_process(partial(record.unlink, missing_ok=True))


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
            resize=describe_resize(cfg),
            holdout=cfg.get('holdout') or 'none: official validation images',
            pretrained=trained.get('pretrained_left_out') or 'as configured',
            base_method=trained.get('base_method') or method_name(cfg)))
    results = build_results(header, records, base, learned[len(base):],
                            len(scenario))
    on_main_process(write_results, results, cfg.work_dir)
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
