"""Fixtures for runs of three steps that take seconds; see the conftests."""
from pathlib import Path
from typing import Any, Callable, Optional

import pytest
from mmengine.config import Config

from mmseg_incremental.datasets import draw_shapes
from mmseg_incremental.engine import load_config

CONFIG = Path(__file__).resolve().parent / 'configs' / 'tiny_shapes.py'


@pytest.fixture(scope='session')
def shapes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures of ``configs/tiny_shapes.py``."""
    root = tmp_path_factory.mktemp('shapes') / 'data'
    draw_shapes(str(root), num_train=24, num_val=8, size=64)
    return root


@pytest.fixture(scope='session')
def tiny_cfg(shapes_root: Path) -> Callable[..., Config]:
    """Build the config of a tiny run from its work dir and options."""

    def build(work_dir: Path,
              method: Optional[str] = None,
              **options: Any) -> Config:
        return load_config(
            str(CONFIG),
            method=method,
            work_dir=str(work_dir),
            cfg_options=dict(options, data_root=str(shapes_root)))

    return build
