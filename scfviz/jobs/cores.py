"""Cores between the workers of a workspace: one that computes alone has all of them, two at the same time share."""

import os
import sys
import time

from filelock import FileLock, Timeout

from scfviz.jobs.kinds import LANES
from scfviz.jobs.workspace import Workspace
from scfviz.threads import chosen_threads, is_users_choice, use_threads

SECONDS_BETWEEN_READINGS = 1.0
LIBRARIES = ("torch", "numba")


class SharedCores:
    """Held by a worker while it computes; `share` adapts its threads to who else does.

    A number of threads that the user set is left alone.
    """

    def __init__(self, workspace: Workspace, lane: str):
        self._own, *self._others = (
            FileLock(workspace.jobs / f"computing-{name}.lock", thread_local=False)
            for name in sorted(LANES, key=lambda name: name != lane)
        )
        self._total = chosen_threads(os.environ)
        self._lane, self._is_fixed, self._read_at, self._used = lane, is_users_choice(os.environ), 0.0, None

    def __enter__(self) -> "SharedCores":
        self._own.acquire(timeout=10)  # a look of the other worker holds it for an instant
        self.share()
        return self

    def __exit__(self, *_: object) -> None:
        self._own.release()

    def share(self) -> None:
        """Take the threads that are ours now; cheap, so that it can be called at every step of a computation."""
        if self._is_fixed or time.monotonic() - self._read_at < SECONDS_BETWEEN_READINGS:
            return
        self._read_at = time.monotonic()
        now = (self.n_threads(), *(name in sys.modules for name in LIBRARIES))
        if now != self._used:
            use_threads(now[0])
            self._used = now

    def n_threads(self) -> int:
        """All threads while no other worker computes, else half; the odd one goes to what a click asked for."""
        if not any(map(_is_held, self._others)):
            return self._total
        half = self._total // 2 if self._lane == "long" else self._total - self._total // 2
        return max(1, half)


def _is_held(lock: FileLock) -> bool:
    try:
        with lock.acquire(blocking=False):
            return False
    except Timeout:
        return True
