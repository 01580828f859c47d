import argparse

from mmengine.dist import is_main_process

from mmseg_incremental.engine import load_config
from mmseg_incremental.engine.cli import (exit_on_bad_input, parse_run_args,
                                          parse_steps)
from mmseg_incremental.engine.steps import evaluate_steps


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Evaluate one step of a run, or all of them')
    parser.add_argument(
        '--steps',
        help='steps to evaluate, for example 3 or 0-3 (default: every step '
        'that is trained)')
    parser.add_argument(
        '--checkpoint',
        help='evaluate this checkpoint in place of the final one of the step')
    return parse_run_args(parser)


@exit_on_bad_input
def main() -> None:
    args = parse_args()
    cfg = load_config(
        args.config,
        method=args.method,
        cfg_options=args.cfg_options,
        work_dir=args.work_dir)
    cfg.launcher = args.launcher
    tables = evaluate_steps(cfg, parse_steps(args.steps), args.checkpoint)
    if is_main_process():
        print(tables)


if __name__ == '__main__':
    main()
