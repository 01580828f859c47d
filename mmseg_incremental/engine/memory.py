"""Memory that is given back at once."""
import gc
from contextlib import contextmanager
from typing import Iterator

import torch


@contextmanager
def freed() -> Iterator[None]:
    """Free what has come about inside: a Runner refers to itself in circles.

    The libraries are not searched for garbage with it, which would take
    longer than all else at the end of a step. What somebody else has frozen
    stays so.
    """
    freezes = not gc.get_freeze_count()
    if freezes:
        gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        if freezes:
            gc.unfreeze()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
