"""Less for the garbage collector to look through.

Streamlit collects garbage after every run of a page, and of a bar that follows a computation. Each time all objects of
the process are looked through, nearly all of them parts of libraries that never go: that was most of what a click and a
second of a progress bar cost (benchmarks/NOTES.md). So what lives is set aside, and looked through once a minute.
"""

import gc
import sys
import threading
import time

SECONDS_BETWEEN = 60.0
MANY_MODULES = 50  # that were imported since: there is much to set aside


class Collector:
    """Sets aside what lives, now and then; one for the process."""

    def __init__(self) -> None:
        self._at, self._n_modules, self._lock = float("-inf"), 0, threading.Lock()

    def set_aside(self) -> bool:
        """Collect all garbage and set aside what remains, if it is time to; called when a page is drawn.

        What is set aside and dropped meanwhile goes at once where no circle keeps it, else a minute later.
        """
        if not self._lock.acquire(blocking=False):
            return False
        try:
            is_due = time.monotonic() - self._at >= SECONDS_BETWEEN
            if not is_due and len(sys.modules) - self._n_modules < MANY_MODULES:
                return False
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            self._at, self._n_modules = time.monotonic(), len(sys.modules)
            return True
        finally:
            self._lock.release()


collector = Collector()
