import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Callable, Iterator

import pytest

from mmseg_incremental.engine import run_steps

_TINY_RUN = runpy.run_path(str(Path(__file__).parents[1] / 'tiny_run.py'))
shapes_root, tiny_cfg = _TINY_RUN['shapes_root'], _TINY_RUN['tiny_cfg']


@pytest.fixture(scope='session', autouse=True)
def unformatted_configs() -> Iterator[None]:
    """Keep MMEngine from formatting configs, half of the time of a run."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode',
                            lambda code, **kwargs: (code, True))
        yield


@pytest.fixture(scope='session')
def finished(tiny_cfg: Callable,
             tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A finished run of MiB: config, work dir and what it returned."""
    work_dir = tmp_path_factory.mktemp('finished') / 'work'
    cfg = tiny_cfg(work_dir)
    return SimpleNamespace(cfg=cfg, work_dir=work_dir, results=run_steps(cfg))
