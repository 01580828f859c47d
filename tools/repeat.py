"""Train methods with several seeds, and report mean and deviation."""
import argparse
import itertools
import json
import os.path as osp
import sys
from typing import List, Optional, Sequence

from mmengine.config import Config, DictAction
from mmengine.utils import mkdir_or_exist

from mmseg_incremental.engine import build_scenario, load_config
from mmseg_incremental.engine.cli import exit_on_bad_input, refuse_other
from mmseg_incremental.engine.processes import Run, train_all
from mmseg_incremental.engine.run_check import check_models
from mmseg_incremental.engine.step_config import final_checkpoint
from mmseg_incremental.errors import IncrementalConfigError
from mmseg_incremental.evaluation import load_results, repeats_table
from mmseg_incremental.evaluation.results_io import write_atomically

TRAIN = osp.join(osp.dirname(osp.abspath(__file__)), 'train.py')


class KeepText(DictAction):
    """Options as a dict, and as they were written."""

    def __call__(self,
                 parser: argparse.ArgumentParser,
                 namespace: argparse.Namespace,
                 values: Sequence[str],
                 option_string: Optional[str] = None) -> None:
        namespace.option_texts = [*namespace.option_texts, *values]
        super().__call__(parser, namespace, values, option_string)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Train methods with several seeds, all methods of a seed '
        'from one base model, and print mean and standard deviation. What '
        'was stopped goes on when it is started again.')
    parser.add_argument('config', help='train config file path')
    parser.add_argument(
        '--methods',
        required=True,
        nargs='+',
        metavar='METHOD',
        help='names of files in configs/_base_/methods')
    parser.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        default=[42, 43, 44],
        help='values of randomness.seed (default: 42 43 44)')
    parser.add_argument(
        '--base-method',
        default='importances',
        help='what trains the base models (default: importances, which serves '
        'the penalties of ewc, pi and rw too)')
    parser.add_argument(
        '--parallel',
        type=int,
        default=1,
        metavar='N',
        help='how many runs at a time; several GPUs take turns (default: 1)')
    parser.add_argument('--work-dir', help='folder of the runs')
    parser.add_argument('--amp', action='store_true', help='as in train.py')
    parser.add_argument(
        '--cfg-options', nargs='+', action=KeepText, help='as in train.py')
    parser.set_defaults(option_texts=[])
    args = parser.parse_args()
    check_args(parser, args)
    if args.work_dir is None:
        stem = osp.splitext(osp.basename(args.config))[0]
        args.work_dir = osp.join('work_dirs', f'repeat_{stem}')
    return args


def check_args(parser: argparse.ArgumentParser,
               args: argparse.Namespace) -> None:
    """Refuse what cannot be repeated."""
    for key in ('methods', 'seeds'):
        values = getattr(args, key)
        if len(set(values)) < len(values):
            parser.error(f'--{key} {values} names one twice; name each once')
    if args.parallel < 1:
        parser.error(f'--parallel {args.parallel} is no number of runs; use 1 '
                     'or more')


def folder(args: argparse.Namespace, method: str, seed: int) -> str:
    """Folder of a run."""
    return osp.join(args.work_dir, f'{method}_seed{seed}')


def load(args: argparse.Namespace, method: str) -> Config:
    """Load the config of a method, and refuse what cannot be trained."""
    cfg = load_config(
        args.config, method=method, cfg_options=args.cfg_options, amp=args.amp)
    check_models(cfg, [0, len(build_scenario(cfg)) - 1])
    return cfg


def plan(args: argparse.Namespace, method: str, seed: int,
         base: Optional[str]) -> Run:
    """What trains a method with a seed.

    Args:
        args (argparse.Namespace): The command line.
        method (str): Name of the method.
        seed (int): The seed.
        base (str, optional): Checkpoint of the base model, None to train
            step 0.

    Returns:
        Run: The training.
    """
    work_dir = folder(args, method, seed)
    command = [
        sys.executable, TRAIN, args.config, '--method', method, '--work-dir',
        work_dir, '--resume', *(['--amp'] if args.amp else [])
    ]
    if base is not None:
        command += ['--base-checkpoint', base]
    elif method == args.base_method and method not in args.methods:
        command += ['--steps', '0']
    command += ['--cfg-options', *args.option_texts, f'randomness.seed={seed}']
    return Run(osp.basename(work_dir), command, f'{work_dir}.log')


def has_own_base(cfg: Config) -> bool:
    """Whether step 0 of a method is not that of the others."""
    method = cfg.get('method', {})
    return bool(method.get('joint') or method.get('base_classification'))


def plan_all(args: argparse.Namespace) -> List[List[Run]]:
    """Base models, and then what starts from them."""
    own = [name for name in args.methods if has_own_base(load(args, name))]
    first = [
        plan(args, method, seed, None)
        for seed, method in itertools.product(args.seeds, own)
    ]
    others = [name for name in args.methods if name not in own]
    if not others:
        return [first]
    cfg = load(args, args.base_method)
    if has_own_base(cfg):
        raise IncrementalConfigError(
            f'--base-method {args.base_method} trains step 0 in a way of its '
            'own, from which no other method can start; name another, such '
            'as importances.')
    second = []
    for seed in args.seeds:
        first.append(plan(args, args.base_method, seed, None))
        cfg.work_dir = folder(args, args.base_method, seed)
        second += [
            plan(args, method, seed, final_checkpoint(cfg, 0))
            for method in others if method != args.base_method
        ]
    return [first, second]


def claim(args: argparse.Namespace) -> None:
    """Refuse a folder whose runs were trained in another way.

    Raises:
        IncrementalConfigError: If they were.
    """
    mkdir_or_exist(args.work_dir)
    path = osp.join(args.work_dir, 'repeat.json')
    names = ('config', 'base_method', 'amp', 'option_texts')
    wanted = {key: getattr(args, key) for key in names}
    if osp.isfile(path):
        with open(path, encoding='utf-8') as file:
            refuse_other(args.work_dir, 'runs', json.load(file), wanted)
    else:
        write_atomically(json.dumps(wanted, indent=2).encode(), path)


@exit_on_bad_input
def main() -> None:
    args = parse_args()
    groups = plan_all(args)
    claim(args)
    train_all(groups, args.parallel)
    print(
        repeats_table([
            load_results(folder(args, method, seed))
            for method, seed in itertools.product(args.methods, args.seeds)
        ]))


if __name__ == '__main__':
    main()
