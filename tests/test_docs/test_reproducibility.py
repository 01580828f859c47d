import re
import runpy
import shlex

import pytest

from mmseg_incremental.engine import build_step_cfg, load_config
from mmseg_incremental.engine.cli import parse_steps

PAGE = 'REPRODUCIBILITY.md'
METHODS_THAT_WATCH = {'ewc', 'mib_ewc', 'pi', 'rw'}


@pytest.fixture
def commands(read_blocks):
    """The arguments of every call of a tool, by the tool."""
    text = ''.join(read_blocks(PAGE, 'shell')).replace('\\\n', ' ')
    found = [shlex.split(line) for line in text.splitlines()]
    return [(c[1], c[2:]) for c in found if c[0] == 'python']


def parse(repository, monkeypatch, tool, argv):
    """What the tool reads from its command line."""
    scope = runpy.run_path(str(repository / tool))
    monkeypatch.setattr('sys.argv', [tool, *argv])
    return scope['parse_args']()


def test_training_and_searches_are_accepted(commands, repository, monkeypatch):
    monkeypatch.chdir(repository)
    tools = [tool for tool, _ in commands]
    assert tools.count('tools/train.py') > 6
    assert tools.count('tools/search.py') >= 1
    for tool, argv in commands:
        if tool not in ('tools/train.py', 'tools/search.py'):
            continue
        args = parse(repository, monkeypatch, tool, argv)
        options = dict(args.cfg_options or {})
        if tool == 'tools/search.py':
            options[args.option] = args.values[0]
        cfg = load_config(args.config, args.method, options)
        for step in parse_steps(args.steps) or (0, ):
            build_step_cfg(cfg, step)


def test_methods_that_watch_start_from_importances(commands, repository,
                                                   monkeypatch):
    """Or their rows could not be run from the base of the page."""
    monkeypatch.chdir(repository)
    text = (repository / PAGE).read_text()
    assert METHODS_THAT_WATCH <= set(re.findall(r'^\| `(\w+)`', text, re.M))
    made_by, used = {}, []
    for tool, argv in commands:
        if tool not in ('tools/train.py', 'tools/search.py'):
            continue
        args = parse(repository, monkeypatch, tool, argv)
        made_by[args.work_dir] = args.method
        if args.base_checkpoint:
            folder = args.base_checkpoint.partition('/step_0/')[0]
            used.append((args.method, made_by.get(folder)))
    assert ('mib', 'importances') in used
    watching = [base for method, base in used if method in METHODS_THAT_WATCH]
    assert watching and set(watching) == {'importances'}
