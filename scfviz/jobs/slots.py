"""Slots: how many computations of a lane run at once, and which of them has a worker that lives.

A worker holds the lock of one slot, `worker-<slot>.lock`, for as long as it lives. Who looks whether a lock is held
takes it for an instant: `look.lock` lets one look at a time, or two that met would each take the other for a worker.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from scfviz.jobs.workspace import Workspace
from scfviz.threads import available_cores

LOOK_SECONDS, TAKE_SECONDS = 5.0, 30.0


def slots(lane: str) -> tuple[str, ...]:
    """Names of the slots of a lane: one for long computations, for quick ones as many as cores.

    Machines of more than four cores keep one free. The first slot is called as the lane.
    """
    cores = 1 if lane == "long" else available_cores()
    return (lane, *(f"{lane}-{number}" for number in range(1, cores - 1 if cores > 4 else cores)))


def lane_of_slot(slot: str) -> str:
    """The lane that a slot belongs to."""
    return slot.partition("-")[0]


def take_slot(workspace: Workspace, lane: str) -> tuple[str, FileLock] | None:
    """Take the first slot of a lane that is free, with its lock held; `None` where each has its worker."""
    for slot in slots(lane):
        lock = _worker_lock(workspace, slot)
        if not _is_held(workspace, lock, keep=True, timeout=TAKE_SECONDS):
            return slot, lock
    return None


def worker_is_alive(workspace: Workspace, slot: str) -> bool:
    """Whether the worker process of a slot lives; one that was killed has lost its lock."""
    return _is_held(workspace, _worker_lock(workspace, slot))


def computing_lock(workspace: Workspace, slot: str) -> FileLock:
    """The lock that the worker of a slot holds while it computes."""
    return FileLock(workspace.jobs / f"computing-{slot}.lock", thread_local=False)


def is_computing(workspace: Workspace, slot: str) -> bool:
    """Whether the worker of a slot computes now."""
    return _is_held(workspace, computing_lock(workspace, slot))


def _worker_lock(workspace: Workspace, slot: str) -> FileLock:
    return FileLock(workspace.jobs / f"worker-{slot}.lock", thread_local=False)


def _is_held(workspace: Workspace, lock: FileLock, *, keep: bool = False, timeout: float = LOOK_SECONDS) -> bool:
    """Whether another process holds a lock; if none does and it is to be kept, this one holds it from now on."""
    try:
        with _one_look(workspace, timeout):
            lock.acquire(blocking=False)
            if not keep:
                lock.release()
    except Timeout:
        return True
    return False


@contextmanager
def _one_look(workspace: Workspace, timeout: float) -> Iterator[None]:
    with FileLock(workspace.jobs / "look.lock", timeout=timeout, poll_interval=0.002, thread_local=False):
        yield
