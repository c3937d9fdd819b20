"""Cores between the workers of a workspace: one that computes alone has all of them, several at the same time share."""

import os
import sys
import time

from scfviz.jobs.slots import computing_lock, is_computing, slots
from scfviz.jobs.workspace import Workspace
from scfviz.threads import chosen_threads, is_users_choice, use_threads

SECONDS_BETWEEN_READINGS = 1.0
LIBRARIES = ("torch", "numba")


class SharedCores:
    """Held by a worker while it computes; `share` adapts its threads to who else does.

    A number of threads that the user set is left alone.
    """

    def __init__(self, workspace: Workspace, slot: str):
        self._workspace, self._slot, self._lock = workspace, slot, computing_lock(workspace, slot)
        self._total = chosen_threads(os.environ)
        self._is_fixed, self._read_at, self._used = is_users_choice(os.environ), 0.0, None

    def __enter__(self) -> "SharedCores":
        self._lock.acquire(timeout=10)  # a look of another worker holds it for an instant
        self.share()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

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
        """An equal share between all workers that compute now; what is left goes to what a click asked for."""
        names = dict.fromkeys((*slots("quick"), *slots("long"), self._slot))
        computing = [slot for slot in names if slot == self._slot or is_computing(self._workspace, slot)]
        share, left = divmod(self._total, len(computing))
        return max(1, share + (computing.index(self._slot) < left))
