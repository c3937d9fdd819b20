"""What lives is looked through once a minute, not after every click, and garbage still goes."""

import gc
import weakref

import pytest

from scfviz.ui.frame import collector
from scfviz.ui.frame.collector import Collector


class Circle:
    def __init__(self):
        self.itself = self


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(collector.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(collector, "MANY_MODULES", 10**9)
    yield now
    gc.unfreeze()


def test_a_collection_passes_over_what_lived_and_finds_what_came_later(clock):
    old = Circle()
    assert Collector().set_aside() and gc.get_freeze_count() > 10_000
    assert not any(one is old for one in gc.get_objects())
    new = weakref.ref(Circle())
    gc.collect(2)
    assert new() is None


def test_a_circle_that_was_set_aside_goes_a_minute_later(clock):
    """Else the memory of a dataset that nobody has open any more would be lost for ever."""
    mine, circle = Collector(), Circle()
    assert mine.set_aside()
    gone = weakref.ref(circle)
    del circle
    clock[0] = collector.SECONDS_BETWEEN - 1
    assert not mine.set_aside() and gone() is not None
    clock[0] += 1
    assert mine.set_aside() and gone() is None


def test_new_libraries_are_set_aside_at_once(clock, monkeypatch):
    mine = Collector()
    assert mine.set_aside() and not mine.set_aside()
    monkeypatch.setattr(collector, "MANY_MODULES", 0)
    assert mine.set_aside()
