import argparse

from mmseg_incremental.engine import load_config, run_steps
from mmseg_incremental.engine.cli import (describe_steps, exit_on_bad_input,
                                          parse_run_args, parse_steps)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train a segmentor on new classes, step by step')
    parser.add_argument(
        '--steps',
        help='steps to run, for example 0-3 or 0,2 (default: all of them)')
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
        '--profile',
        action='store_true',
        help='print at the end where the time went, and keep it in '
        'profile.json of the work dir')
    return parse_run_args(parser)


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
    cfg.profile = args.profile or cfg.get('profile', False)
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
