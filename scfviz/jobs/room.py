"""Memory between computations that run at once: what one has said that it needs is kept for it until it takes it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scfviz.data.memory import free_memory
from scfviz.jobs.queue import read_statuses
from scfviz.jobs.slots import lane_of_slot, worker_is_alive
from scfviz.jobs.workspace import Workspace


@dataclass(frozen=True)
class Room:
    """Memory for one more computation, in bytes.

    `free` now, of which `promised` to others that run; `is_growing` while one of these is quick: it is done soon.
    """

    free: float
    promised: float
    is_growing: bool

    def fits(self, needed: float) -> bool:
        """Whether so many bytes can be had now."""
        return needed <= self.free - self.promised


def find_room(workspace: Workspace, folder: Path) -> Room:
    """The memory that is left to the job of a folder; `queue.lock` must be held while it is counted and claimed."""
    beside = [
        now
        for other, now in read_statuses(workspace)
        if other != folder
        and now["state"] == "running"
        and now.get("memory")
        and worker_is_alive(workspace, now["slot"])
    ]
    promised = sum(max(now["memory"] - _taken(now), 0.0) for now in beside)
    return Room(free_memory(), promised, any(lane_of_slot(now["slot"]) == "quick" for now in beside))


def _taken(now: dict[str, Any]) -> float:
    """Bytes that the worker of a running job holds for itself; pages of files on disk can be given back."""
    import psutil

    try:
        held = psutil.Process(now["pid"]).memory_info()
    except psutil.NoSuchProcess:
        return now["memory"]
    return float(held.rss - getattr(held, "shared", 0))
