"""Computations that run outside the page, and the workspace where their results live."""

from scfviz.jobs.queue import (
    JobStatus,
    cancel,
    list_jobs,
    remove,
    result_dir,
    resume,
    start_worker,
    status,
    submit,
    warm_worker,
)
from scfviz.jobs.waiting import expected_wait, jobs_ahead
from scfviz.jobs.workspace import Workspace

__all__ = [
    "JobStatus",
    "Workspace",
    "cancel",
    "expected_wait",
    "jobs_ahead",
    "list_jobs",
    "remove",
    "result_dir",
    "resume",
    "start_worker",
    "status",
    "submit",
    "warm_worker",
]
