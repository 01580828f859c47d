import argparse
import os

from mmengine.config import DictAction

from mmseg_incremental.engine import load_config, run_steps
from mmseg_incremental.engine.cli import (describe_steps, exit_on_bad_input,
                                          parse_steps)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train a segmentor on new classes, step by step')
    parser.add_argument('config', help='train config file path')
    parser.add_argument('--work-dir', help='the dir to save logs and models')
    parser.add_argument(
        '--steps',
        help='steps to run, for example 0-3 or 0,2 (default: all of them)')
    parser.add_argument(
        '--method',
        help='method that replaces the one of the config: the name of a file '
        'in configs/_base_/methods')
    parser.add_argument(
        '--base-checkpoint',
        help='checkpoint of the base classes, which stands in for step 0')
    parser.add_argument(
        '--dry-run', action='store_true', help='print the step table and exit')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on with the work dir: finished steps are kept, an '
        'unfinished one continues at its latest checkpoint')
    parser.add_argument(
        '--amp',
        action='store_true',
        help='enable automatic-mixed-precision training')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override some settings in the used config, the key-value pair '
        'in xxx=yyy format will be merged into config file, for example '
        'scenario.task=15-5 data_root=/data/VOC2012')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    if 'LOCAL_RANK' not in os.environ:
        os.environ['LOCAL_RANK'] = str(args.local_rank)
    return args


@exit_on_bad_input
def main() -> None:
    args = parse_args()
    cfg = load_config(
        args.config,
        method=args.method,
        cfg_options=args.cfg_options,
        work_dir=args.work_dir,
        amp=args.amp)
    cfg.launcher = args.launcher
    steps = parse_steps(args.steps)
    if args.dry_run:
        print(describe_steps(cfg, steps, args.base_checkpoint))
        return
    run_steps(
        cfg,
        steps=steps,
        resume=args.resume,
        base_checkpoint=args.base_checkpoint)


if __name__ == '__main__':
    main()
