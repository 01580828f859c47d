import re
import runpy
import shlex
import shutil
from pathlib import Path
from typing import Callable, List, Sequence

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
shapes_root = runpy.run_path(str(REPOSITORY /
                                 'tests/tiny_run.py'))['shapes_root']


@pytest.fixture
def repository() -> Path:
    """Root of the repository."""
    return REPOSITORY


@pytest.fixture
def read_blocks() -> Callable:
    """Read the code blocks of one language in a page of the repository."""

    def read(page: str, language: str) -> List[str]:
        blocks = re.findall(
            rf'^ *```{language}\n(.*?)^ *```$',
            (REPOSITORY / page).read_text(),
            flags=re.M | re.S)
        assert blocks
        return blocks

    return read


@pytest.fixture
def read_commands(read_blocks: Callable) -> Callable:
    """Read the arguments of the ``tools/train.py`` commands of a page."""

    def read(page: str) -> List[List[str]]:
        text = ''.join(read_blocks(page, 'shell')).replace('\\\n', ' ')
        commands = [shlex.split(line) for line in text.splitlines()]
        commands = [c[2:] for c in commands if c[1] == 'tools/train.py']
        assert commands
        return commands

    return read


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the configs, as the current directory."""
    shutil.copytree(REPOSITORY / 'configs', tmp_path / 'configs')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Run ``tools/train.py`` in this process."""
    main = runpy.run_path(str(REPOSITORY / 'tools' / 'train.py'))['main']
    monkeypatch.setenv('LOCAL_RANK', '0')

    def run(argv: Sequence[str]) -> None:
        monkeypatch.setattr('sys.argv', ['tools/train.py', *argv])
        main()

    return run
