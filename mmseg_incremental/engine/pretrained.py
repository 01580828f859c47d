import logging
import os.path as osp
from typing import Optional

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader

from mmseg_incremental.errors import IncrementalConfigError
from .distributed import on_main_process
from .model_config import find_pretrained


def resolve_pretrained(cfg: Config) -> Optional[str]:
    """Make sure of the pretrained weights before a run starts.

    Weights behind a URL that cannot be fetched are left out with a warning,
    so that a machine without internet can run every config; the results say
    so. A file that does not exist is a mistake.

    Args:
        cfg (Config): Config of the run, changed where weights are left out.

    Returns:
        str, optional: What was left out and why; None if nothing was.

    Raises:
        IncrementalConfigError: If a file does not exist.
    """
    left_out = None
    for holder, key, source in find_pretrained(cfg.model):
        problem = _problem(source) if source is not None else None
        if source is None or problem is not None:
            # None lets the layer take its own default initialisation.
            holder[key] = None
        if problem is not None:
            left_out = f'{source} left out: {problem}'
            print_log(
                f'{source} cannot be fetched ({problem}): the model starts '
                'from RANDOM weights and will be much worse than published; '
                'pass --cfg-options pretrained=FILE for a local copy',
                logger='current',
                level=logging.WARNING)
    return left_out


def _problem(source: str) -> Optional[str]:
    """Try to fetch weights; None if they are there, on every rank alike."""
    if '://' not in source:
        if not osp.isfile(source):
            raise IncrementalConfigError(
                f'pretrained={source!r} does not exist; name a file, a URL, '
                'or None to start from random weights.')
        return None
    return on_main_process(_fetch, source)


def _fetch(source: str) -> Optional[str]:
    """Fetch weights into MMEngine's cache, where the model finds them."""
    try:
        CheckpointLoader.load_checkpoint(source, map_location='cpu')
    except Exception as error:
        # Anything: each backend reports failure by types of its own.
        return f'{type(error).__name__}: {error}'
    return None
