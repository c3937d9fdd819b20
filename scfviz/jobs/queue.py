"""Jobs: computations that outlive the page, the browser and the server that asked for them.

A job is a folder `<workspace>/jobs/<id>/`:

    job.json         kind, options, data, who asked and when       written once, by `submit`
    status.json      state, fraction, stage, time left, error      replaced as a whole, by the worker while it runs
    cancel           there when somebody asked to stop             written by `cancel`
    worker.log       what the computation printed, tracebacks
    work/            intermediate results, from which an interrupted job goes on
    result/          there only when the job is done, and then whole

Jobs wait in two lanes: what may take many minutes, and what a click asks for, which does not wait behind it
(`scfviz.jobs.kinds.LONG`). A lane has slots, each with at most one worker (`scfviz.jobs.slots`): one for long jobs, as
many as cores for quick ones; visitors take turns (`scfviz.jobs.turns`). Locks of the operating system keep order, and
vanish with the process that holds them: a worker holds that of its slot for as long as it lives, and the job that it
runs names the slot, so that one that was killed is recognised at once; `queue.lock` is held for the moment in which a
job changes its state, or a worker takes its slot.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from scfviz.errors import JobError, ScfvizError
from scfviz.jobs.access import (
    collect_datasets,
    datasets_in,
    grants_of,
    jobs_named,
    join_key,
    not_shared,
    scope_of,
)
from scfviz.jobs.kinds import LANES, get_kind, lane_of
from scfviz.jobs.options import JOB_ID
from scfviz.jobs.slots import lane_of_slot, slots, worker_is_alive
from scfviz.jobs.turns import Waiting, in_turn
from scfviz.jobs.workspace import Workspace, read_json, write_json

State = Literal["queued", "running", "done", "failed", "cancelled", "interrupted"]
IDLE_SECONDS = 20.0  # a worker waits so long for another job
UNFINISHED = ("failed", "cancelled", "interrupted")
PACKAGE_PARENT = Path(__file__).resolve().parents[2]
WORKER = ("-m", "scfviz.jobs.worker")


@dataclass(frozen=True)
class JobStatus:
    """Where a job stands.

    Attributes
    ----------
    fraction
        Share of the work done, 0 to 1.
    stage
        What is being done, in words.
    seconds_left
        Estimated time left in seconds; `None` while it is not known.
    error
        `found`, `needed` and `advice` of a failed job, plain text.
    identity
        What the result depends on: the options with content instead of paths.
    datasets
        Paths of all data that it reads, also behind the jobs it builds on, with their owners when it was asked for.
    jobs
        Ids of the jobs that it builds on.
    scope
        What keeps it apart from the same work on the same content of somebody else; empty on public data.
    asked_by
        Who asked for it, as `scfviz.jobs.access.owner_of` writes it; empty where nobody is known.
    created_at, finished_at
        Seconds since 1970; `finished_at` is `None` for a job that waits or runs.
    seconds
        How long it has been computing, or did in all; `None` for one that waits or was interrupted before.
    """

    id: str
    kind: str
    state: State
    fraction: float
    stage: str
    seconds_left: float | None
    error: dict[str, str] | None
    options: dict[str, Any]
    identity: dict[str, Any]
    datasets: dict[str, list[list[str]]]
    jobs: tuple[str, ...]
    scope: str
    asked_by: str
    created_at: float
    finished_at: float | None
    seconds: float | None

    @property
    def is_active(self) -> bool:
        """Whether the job waits or runs: the page should look again soon."""
        return self.state in ("queued", "running")

    @property
    def key(self) -> str:
        """What it belongs to: content and, where that is somebody's, whose; see `scfviz.jobs.access.content_key`."""
        return join_key(self.identity.get("dataset", ""), self.scope)


def submit(workspace: Workspace, kind: str, options: Mapping[str, Any], *, asked_by: str | None = None) -> str:
    """Ask for a computation and return its id at once.

    The id is made from the kind, the options and the content (not the path) of dataset and checkpoint. So the
    same request has the same id: a finished result is used again, a waiting or running job is joined, and one
    that stopped is taken up where it was. Work on data that are somebody's has an id of its own.

    Parameters
    ----------
    kind
        A name in `scfviz.jobs.kinds.KINDS`.
    options
        Plain values that JSON can hold; each kind documents its own.
    asked_by
        Who asks, see `scfviz.jobs.access.owner_of`; they need to be allowed to read all the data. `None`: the
        command line, which may.

    Raises
    ------
    OptionError
        The kind or an option is unknown or makes no sense.
    DatasetError, CheckpointError
        The dataset or checkpoint isn't there.
    AccessError
        It is somebody else's.
    """
    options, identity = get_kind(kind).prepare(dict(options), workspace)
    datasets = collect_datasets(workspace, kind, options)
    grants = [grant for path in datasets for grant in grants_of(workspace, path)]
    if asked_by is not None and not all(grant.admits(asked_by) for grant in grants):
        raise not_shared()
    scope = scope_of(grants)
    parts = {"kind": kind, **identity} | ({"scope": scope} if scope else {})
    text = json.dumps(parts, sort_keys=True, allow_nan=False)
    job_id = hashlib.sha256(text.encode()).hexdigest()[:16]
    folder = workspace.jobs / job_id
    with queue_lock(workspace):
        job = {
            "id": job_id,
            "kind": kind,
            "options": options,
            "identity": identity,
            "datasets": datasets,
            "jobs": list(jobs_named(workspace, kind, options)),
            "scope": scope,
            "asked_by": asked_by or "",
            "created_at": time.time(),
        }
        if not (folder / "job.json").exists():
            fresh = Path(tempfile.mkdtemp(dir=workspace.jobs, prefix=".new-"))
            write_json(fresh / "job.json", job)
            write_status(fresh, state="queued", queued_at=time.time_ns())
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
        elif status(workspace, job_id).state in UNFINISHED:
            write_json(folder / "job.json", job)  # the same content may lie at another path now
            _queue_again(folder)
    start_worker(workspace)
    return job_id


def status(workspace: Workspace, job_id: str) -> JobStatus:
    """Where a job stands now; reads files only, so any process may ask."""
    folder = job_folder(workspace, job_id)
    job, now = read_json(folder / "job.json"), read_json(folder / "status.json")
    if job is None or now is None:
        raise JobError(f"There is no computation {job_id} here.", advice="It may have been removed; start it again.")
    if now["state"] == "running" and not worker_is_alive(workspace, _slot_of(now, lane_of(job["kind"]))):
        # the worker may have finished and left between the two looks
        now = read_json(folder / "status.json") or now
        if now["state"] == "running":
            now |= {"state": "interrupted", "seconds_left": None}
    stopping = now["state"] == "running" and (folder / "cancel").exists()
    return JobStatus(
        id=job_id,
        kind=job["kind"],
        state=now["state"],
        fraction=now["fraction"],
        stage="Stopping" if stopping else now["stage"],
        seconds_left=now["seconds_left"],
        error=now["error"],
        options=job["options"],
        identity=job["identity"],
        datasets=datasets_in(workspace, job),
        jobs=tuple(job.get("jobs") or ()),
        scope=str(job.get("scope") or ""),
        asked_by=str(job.get("asked_by") or ""),
        created_at=job["created_at"],
        finished_at=now["finished_at"],
        seconds=_seconds(now),
    )


def list_jobs(workspace: Workspace) -> list[JobStatus]:
    """All jobs of the workspace, the newest first."""
    jobs = []
    for folder in workspace.jobs.iterdir():
        if JOB_ID.fullmatch(folder.name):
            try:
                jobs.append(status(workspace, folder.name))
            except JobError:  # removed while the list was made
                continue
    return sorted(jobs, key=lambda job: job.created_at, reverse=True)


def cancel(workspace: Workspace, job_id: str) -> None:
    """Stop a waiting or running job; what it has computed is kept, so that `resume` can go on from there."""
    folder = job_folder(workspace, job_id)
    with queue_lock(workspace):
        state = status(workspace, job_id).state
        if state == "running":
            (folder / "cancel").touch()
        elif state in ("queued", "interrupted"):
            write_status(folder, state="cancelled", finished_at=time.time(), seconds_left=None)


def resume(workspace: Workspace, job_id: str) -> None:
    """Queue a job that failed, was cancelled or was interrupted; it goes on from what was computed."""
    folder = job_folder(workspace, job_id)
    with queue_lock(workspace):
        if status(workspace, job_id).state in UNFINISHED:
            _queue_again(folder)
    start_worker(workspace)


def remove(workspace: Workspace, job_id: str) -> None:
    """Delete a job and its result.

    Raises
    ------
    JobError
        The job waits or runs.
    """
    folder = job_folder(workspace, job_id)
    with queue_lock(workspace):
        if status(workspace, job_id).is_active:
            raise JobError(f"The computation {job_id} is not finished.", advice="Cancel it first, then remove it.")
        doomed = folder.with_name(f".removed-{job_id}-{time.time_ns()}")
        folder.rename(doomed)  # one step: nobody sees half a result
    shutil.rmtree(doomed, ignore_errors=True)


def result_dir(workspace: Workspace, job_id: str) -> Path:
    """The folder with the result of a finished job.

    Raises
    ------
    JobError
        The job is not done.
    """
    now = status(workspace, job_id)
    if now.state != "done":
        raise JobError(
            f"The computation {job_id} has no result: it is {now.state}.",
            advice="Wait for it, or resume it." if now.is_active else "Resume it.",
        )
    return workspace.jobs / job_id / "result"


def start_worker(workspace: Workspace, lanes: Sequence[str] = LANES) -> None:
    """Start a worker process for each lane where more jobs wait than workers are free, and a slot is.

    One at a time: a worker that takes a job while others wait starts the next one. The app calls this when it starts.
    A worker is its own process in its own session: it neither blocks a page nor ends with the server.
    """
    with queue_lock(workspace):
        for lane in lanes:
            n_waiting = len(queued_jobs(workspace, lane))
            alive = {slot for slot in slots(lane) if n_waiting and worker_is_alive(workspace, slot)}
            busy = {_slot_of(now, "") for _, now in read_statuses(workspace) if now["state"] == "running"}
            if n_waiting > len(alive - busy) and len(alive) < len(slots(lane)):
                _start_worker(workspace, lane)


def warm_worker(workspace: Workspace, lane: str, modules: Sequence[str]) -> None:
    """Start a worker of a lane before there is a job for it, and let it import what that one will need."""
    with queue_lock(workspace):
        if not any(worker_is_alive(workspace, slot) for slot in slots(lane)):
            _start_worker(workspace, lane, modules)


def _start_worker(workspace: Workspace, lane: str, modules: Sequence[str] = ()) -> None:
    environment = dict(os.environ)
    # the worker must find the same scfviz, also where it runs from a folder and is not installed
    paths = [str(PACKAGE_PARENT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    new_session: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        new_session = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    with open(workspace.jobs / "worker.log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, *WORKER, str(workspace.root), lane, str(IDLE_SECONDS), *modules],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=workspace.root,
            env=environment,
            **new_session,
        )
    threading.Thread(target=_await_end, args=(process, workspace, lane), daemon=True).start()


def _await_end(process: subprocess.Popen[bytes], workspace: Workspace, lane: str) -> None:
    """Take note of the end of a worker, or it stays in the process table; after one that was killed comes another.

    The job that it was busy with is not tried again unasked, so what kills workers does not do so for ever.
    """
    if process.wait() < 0:
        with suppress(ScfvizError, OSError):
            start_worker(workspace, (lane,))


@contextmanager
def queue_lock(workspace: Workspace) -> Iterator[None]:
    """Hold the queue still while a job changes its state."""
    try:
        with FileLock(workspace.jobs / "queue.lock", timeout=30, thread_local=False):
            yield
    except Timeout as error:
        raise JobError(
            f"The queue in {workspace.jobs} has been locked for 30 seconds.",
            advice="Another process hangs there; end it, or choose another workspace with SCFVIZ_WORKSPACE.",
        ) from error


def job_folder(workspace: Workspace, job_id: str) -> Path:
    """The folder of a job; ids come from addresses, so anything that isn't one is refused."""
    if not JOB_ID.fullmatch(job_id) or not (workspace.jobs / job_id / "job.json").exists():
        raise JobError("There is no such computation here.", advice="It may have been removed; start it again.")
    return workspace.jobs / job_id


def queued_jobs(workspace: Workspace, lane: str) -> list[Path]:
    """Folders of the jobs that wait in a lane, in the order of their turns."""
    waiting, served = [], {}
    for folder, now in read_statuses(workspace):
        if now["state"] == "queued":
            job = read_json(folder / "job.json")
            if job is not None and lane_of(job["kind"]) == lane:
                waiting.append(Waiting(now["queued_at"] / 1e9, folder, str(job.get("asked_by") or "")))
        elif now.get("started_at") and lane_of_slot(_slot_of(now, "")) == lane:
            served[now["owner"]] = max(served.get(now["owner"], 0.0), now["started_at"])
    return in_turn(waiting, served)


def running_in(workspace: Workspace, slot: str) -> list[Path]:
    """Folders of the jobs that run in a slot, or did when its worker was killed."""
    running = [(folder, now) for folder, now in read_statuses(workspace) if now["state"] == "running"]
    return [folder for folder, now in running if _slot_of(now, _lane_in(folder)) == slot]


def claim(folder: Path, slot: str) -> None:
    """Write down that a waiting job runs from now on, by this process in its slot; `queue.lock` must be held."""
    (folder / "cancel").unlink(missing_ok=True)
    job, now = (read_json(folder / name) or {} for name in ("job.json", "status.json"))
    write_status(
        folder,
        state="running",
        stage="Starting",
        pid=os.getpid(),
        slot=slot,
        owner=job.get("asked_by") or "",
        runs=now.get("runs", 0) + 1,
        started_at=time.time(),
        updated_at=time.time(),
        memory=0.0,
    )


def read_statuses(workspace: Workspace) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folder and `status.json` of every job."""
    for path in workspace.jobs.glob("*/status.json"):
        now = read_json(path) if JOB_ID.fullmatch(path.parent.name) else None
        if now is not None:
            yield path.parent, now


def _lane_in(folder: Path) -> str:
    return lane_of((read_json(folder / "job.json") or {"kind": ""})["kind"])


def _slot_of(now: Mapping[str, Any], otherwise: str) -> str:
    """The slot that a job runs in; earlier versions, with one for each lane, wrote none."""
    return str(now.get("slot") or otherwise)


def _seconds(now: Mapping[str, Any]) -> float | None:
    if now["state"] not in ("running", "done") or now.get("runs") != 1:
        return None
    return (now["finished_at"] or time.time()) - now["started_at"]


def write_status(folder: Path, **changes: Any) -> None:
    """Replace `status.json`, with some of its fields changed."""
    empty = {
        "state": "queued",
        "fraction": 0.0,
        "stage": "Waiting",
        "seconds_left": None,
        "error": None,
        "queued_at": 0,
        "finished_at": None,
        "updated_at": None,
        "pid": None,
        "slot": "",
        "owner": "",
        "runs": 0,
        "started_at": None,
        "memory": 0.0,
    }
    write_json(folder / "status.json", empty | (read_json(folder / "status.json") or {}) | changes)


def _queue_again(folder: Path) -> None:
    (folder / "cancel").unlink(missing_ok=True)
    write_status(folder, state="queued", stage="Waiting", error=None, finished_at=None, queued_at=time.time_ns())
