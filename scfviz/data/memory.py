"""How much memory is free, and how much a computation needs."""

import ctypes
import sys
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

MOST_CELLS = 10**12
_GROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Need:
    """Bytes that a computation takes.

    `fixed` always, `per_cell` for each cell, `what` holds them; `batch` for what is computed at once, in full from
    `batch_cells` cells on, and `kept` for what is held of a part of the cells, in full from `kept_cells` on.
    """

    fixed: float
    per_cell: float
    what: str
    batch: float = 0.0
    batch_cells: int = 1
    kept: float = 0.0
    kept_cells: int = 1

    def of(self, n_obs: int) -> float:
        """Bytes at the peak, for so many cells."""
        batch, kept = self.batch * min(n_obs / self.batch_cells, 1.0), self.kept * min(n_obs / self.kept_cells, 1.0)
        return self.fixed + self.per_cell * n_obs + batch + kept

    def fitting(self, n_bytes: float) -> int:
        """The most cells that so many bytes suffice for; 0 for none."""
        return max(bisect_right(range(MOST_CELLS), n_bytes, key=self.of) - 1, 0)


def free_memory() -> int:
    """Bytes that this computer, or the container that it is, can still give."""
    import psutil

    available = psutil.virtual_memory().available
    try:
        limit, used = ((_GROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return available
    if limit == "max":
        return available
    return min(available, max(int(limit) - int(used) + _cached(), 0))


def give_back_memory() -> None:
    """Return what was freed to the system, where the C library can: many small pieces stay with the process else."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trim(0)


def _cached() -> int:
    """Bytes of files that a container keeps at hand and gives back when asked; they count as used."""
    try:
        stat = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
    except OSError:
        return 0
    return int(stat.get("inactive_file", 0))
