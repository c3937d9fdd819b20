"""How much memory is free, and how much a computation needs."""

from dataclasses import dataclass
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Need:
    """Bytes that a computation takes: those that it always takes, those of each cell, and what holds them."""

    fixed: float
    per_cell: float
    what: str


def free_memory() -> int:
    """Bytes that this computer, or the container that it is, can still give."""
    import psutil

    available = psutil.virtual_memory().available
    try:
        limit, used = ((_GROUP / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return available
    return min(available, max(int(limit) - int(used), 0)) if limit != "max" else available
