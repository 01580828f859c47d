"""What datasets of different steps read from the same files."""
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Callable, Dict, Hashable, Iterator, Optional, TypeVar

T = TypeVar('T')

_shared: ContextVar[Optional[Dict[Hashable, object]]] = ContextVar(
    'shared', default=None)


@contextmanager
def read_once() -> Iterator[None]:
    """Let datasets that are built inside read the same files once.

    To list the images of a data set and to look for changed masks takes
    longest in a dataset of many images, and all steps of a run do it. What
    was read is dropped in the end, so that later changes are noticed.
    """
    token = _shared.set({})
    try:
        yield
    finally:
        _shared.reset(token)


def once(key: Hashable, read: Callable[[], T]) -> T:
    """Read something, or return what was read inside :func:`read_once`.

    Args:
        key (Hashable): What is read.
        read (Callable): Reads it.

    Returns:
        Any: What it returned, not to be changed.
    """
    shared = _shared.get()
    if shared is None:
        return read()
    if key not in shared:
        shared[key] = read()
    return shared[key]
