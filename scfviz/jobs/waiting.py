"""What a waiting job waits for, and how long."""

import heapq
from collections.abc import Iterable
from dataclasses import replace
from statistics import median

from scfviz.jobs.kinds import lane_of
from scfviz.jobs.queue import JobStatus, list_jobs, queued_jobs, status
from scfviz.jobs.workspace import Workspace


def jobs_ahead(workspace: Workspace, job_id: str) -> list[JobStatus]:
    """What is done before a waiting job: those of its lane that run, then those whose turn comes earlier.

    Where their time left is not known yet, it is what such computations took before, see `usual_seconds`. Empty for a
    job that does not wait.
    """
    job = status(workspace, job_id)
    if job.state != "queued":
        return []
    lane = lane_of(job.kind)
    waiting = [folder.name for folder in queued_jobs(workspace, lane)]
    found = {other.id: other for other in list_jobs(workspace)}
    running = [other for other in found.values() if other.state == "running" and lane_of(other.kind) == lane]
    before = waiting[: waiting.index(job_id)] if job_id in waiting else []
    done = [other for other in found.values() if other.state == "done"]

    def timed(other: JobStatus) -> JobStatus:
        usual = usual_seconds(other, done) if other.seconds_left is None else None
        left = 0.0 if usual is None else usual - (other.seconds or 0.0)
        return replace(other, seconds_left=left) if left > 0 else other  # slower than usual: nobody knows

    return [timed(other) for other in (*running, *(found[name] for name in before if name in found))]


def usual_seconds(job: JobStatus, others: Iterable[JobStatus]) -> float | None:
    """How long such a computation took before, in seconds: the same kind on the same dataset and checkpoint.

    The median of those that ran without an interruption; `None` where there is none.
    """

    def about(one: JobStatus) -> tuple[object, ...]:
        return (one.kind, *(one.identity.get(name) for name in ("dataset", "checkpoint")))

    known = [other.seconds for other in others if other.seconds is not None and about(other) == about(job)]
    return median(known) if known else None


def expected_wait(ahead: Iterable[JobStatus], n_slots: int) -> tuple[float, bool]:
    """Seconds until a job can start behind others, and whether that is only the least: some times are not known.

    Parameters
    ----------
    ahead
        See `scfviz.jobs.jobs_ahead`.
    n_slots
        How many run at once.
    """
    is_least, free_in = False, [0.0] * n_slots
    for job in ahead:  # the running ones come first, and each has a slot of its own
        heapq.heappush(free_in, heapq.heappop(free_in) + (job.seconds_left or 0.0))
        is_least |= job.seconds_left is None
    return free_in[0], is_least
