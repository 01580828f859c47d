import runpy
from pathlib import Path

_TINY_RUN = runpy.run_path(str(Path(__file__).parents[1] / 'tiny_run.py'))
shapes_root, tiny_cfg = _TINY_RUN['shapes_root'], _TINY_RUN['tiny_cfg']
