import gc
import weakref

import pytest

from mmseg_incremental.engine.memory import freed


class Circle:
    """What only the garbage collector can free."""

    def __init__(self):
        self.itself = self


def test_what_others_have_frozen_stays_frozen():
    gc.freeze()
    try:
        count = gc.get_freeze_count()
        with freed(), freed():
            pass
        assert gc.get_freeze_count() == count > 0
    finally:
        gc.unfreeze()


@pytest.mark.parametrize('error', [None, ValueError])
def test_what_comes_about_is_freed(error):
    # Other tests of the process may have frozen what they need.
    gc.unfreeze()
    before = Circle()
    try:
        with freed():
            circle = weakref.ref(Circle())
            assert gc.get_freeze_count() > 0
            if error is not None:
                raise error
    except ValueError:
        pass
    assert circle() is None
    assert gc.get_freeze_count() == 0
    # What was there before is not kept for ever.
    other = weakref.ref(before)
    del before
    gc.collect()
    assert other() is None
