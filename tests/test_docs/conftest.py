import re
import runpy
import shlex
import shutil
from pathlib import Path
from typing import Callable, List, Sequence

import pytest

from mmseg_incremental.datasets import draw_shapes

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


@pytest.fixture
def check_listed_files() -> Callable:
    """See that the table of files of a page names those of its folder."""

    def check(page: str) -> None:
        page = REPOSITORY / page
        rows = [
            line.split('|')[1] for line in page.read_text().splitlines()
            if line.startswith('| `')
        ]
        names = [name.strip('`') for row in rows for name in row.split()]
        modules = {
            path.name + '/' * path.is_dir()
            for path in page.parent.iterdir()
            if path.name not in ('__init__.py', '__pycache__', page.name)
        }
        assert set(names) == modules

    return check


@pytest.fixture
def tiny_shapes(tmp_path: Path) -> dict:
    """Options that make seconds of the demo: two iterations a step."""
    drawing = dict(num_train=24, num_val=8, size=64)
    draw_shapes(str(tmp_path / 'shapes'), **drawing)
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    return {
        'model.data_preprocessor.size': (64, 64),
        'model.backbone.base_channels': 4,
        'model.backbone.stem_channels': 4,
        'model.decode_head.in_channels': 32,
        'model.decode_head.channels': 8,
        'scenario.task': '18-2',
        'num_panel_images': 0,
        'train_cfg.max_iters': 2,
        'incremental_step.train_cfg.max_iters': 2,
        'default_hooks.logger.interval': 1,
        'train_dataloader.batch_size': 4,
        'train_dataloader.num_workers': 0,
        'test_dataloader.num_workers': 0,
        'data_root': str(tmp_path / 'shapes'),
        **{
            f'{loader}.dataset.dataset': drawing
            for loader in loaders
        }
    }
