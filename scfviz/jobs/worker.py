"""The worker: a process in a slot of a lane that works through the waiting jobs, one at a time.

Started by `queue.start_worker` as `python -m scfviz.jobs.worker <workspace> <lane> [idle seconds [module ...]]`.
"""

import errno
import importlib
import logging
import os
import shutil
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from scfviz.errors import JobError, ScfvizError, Stopped
from scfviz.jobs.cores import SharedCores
from scfviz.jobs.inputs import refuse_changed_inputs
from scfviz.jobs.kinds import LANES, get_kind
from scfviz.jobs.memory import shared_memory
from scfviz.jobs.queue import IDLE_SECONDS, claim, queue_lock, queued_jobs, running_in, start_worker, write_status
from scfviz.jobs.room import find_room
from scfviz.jobs.slots import take_slot
from scfviz.jobs.workspace import Workspace, read_json
from scfviz.threads import prepare_threads

HEARTBEAT_SECONDS = 0.5
# A long library call doesn't look at the cancel flag. After this time the worker ends itself in the middle of
# it: whatever is on disk was renamed into place as a whole.
CANCEL_GRACE_SECONDS = 5.0
RATE_WINDOW_SECONDS = 60.0
NICE_OF_SERVER = "SCFVIZ_NICE"

log = logging.getLogger("scfviz.worker")


class Progress:
    """What a running job says about itself, written to its `status.json` twice a second as a sign of life."""

    def __init__(self, folder: Path, when_overdue: Callable[[], None]):
        self.folder, self.when_overdue = folder, when_overdue
        self.fraction, self.stage, self.memory = 0.0, "Starting", 0.0
        self._points: deque[tuple[float, float]] = deque()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._cancel_seen: float | None = None
        self._beat = threading.Thread(target=self._beat_until_closed, daemon=True)

    def __enter__(self) -> "Progress":
        self._write()
        self._beat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._beat.join()

    def report(self, fraction: float, stage: str) -> None:
        """Take note of the share of the work done (0 to 1) and of what is being done."""
        now = time.monotonic()
        with self._lock:
            changed = stage != self.stage
            if changed:
                # each stage runs at its own pace
                self._points.clear()
            self.fraction, self.stage = min(max(float(fraction), 0.0), 1.0), stage
            self._points.append((now, self.fraction))
            while now - self._points[0][0] > RATE_WINDOW_SECONDS:
                self._points.popleft()
        if changed:
            log.info("%3.0f %% %s", 100 * self.fraction, stage)
            self._write()

    def claim_memory(self, n_bytes: float) -> None:
        """Let others know how much memory this job is going to take, in bytes."""
        self.memory = n_bytes
        self._write()

    def should_stop(self) -> bool:
        """Whether somebody asked this job to stop."""
        return (self.folder / "cancel").exists()

    def seconds_left(self) -> float | None:
        """Time left in seconds, from the pace of the last minute; `None` before a pace can be seen."""
        if len(self._points) < 2:
            return None
        (start, before), (end, after) = self._points[0], self._points[-1]
        if end - start < 1.0 or after <= before:
            return None
        return (1.0 - after) * (end - start) / (after - before)

    def _write(self) -> None:
        with self._lock:
            if not self._closed.is_set():
                write_status(
                    self.folder,
                    fraction=self.fraction,
                    stage=self.stage,
                    seconds_left=self.seconds_left(),
                    memory=self.memory,
                    updated_at=time.time(),
                )

    def _beat_until_closed(self) -> None:
        while not self._closed.wait(HEARTBEAT_SECONDS):
            try:
                self._write()
            except OSError as error:  # a full disk must not end the computation: the next beat tries again
                log.warning("status not written: %s", error)
            if self.should_stop():
                self._cancel_seen = self._cancel_seen or time.monotonic()
                if time.monotonic() - self._cancel_seen > CANCEL_GRACE_SECONDS:
                    with self._lock:  # nothing may be written after the last word
                        self.when_overdue()


def finish(folder: Path, **changes: Any) -> None:
    """Write the last status of a job."""
    write_status(folder, seconds_left=None, finished_at=time.time(), **changes)


class Worker:
    """A process that computes what waits in a lane of a workspace, one job at a time.

    Parameters
    ----------
    workspace
        Where the jobs are.
    lane
        Which of them, a name in `scfviz.jobs.kinds.LANES`.
    idle_seconds
        How long to wait for another job before leaving; meanwhile torch and scanpy are loaded, so the next
        job starts at once.
    modules
        What to import before the first look for a job.
    """

    def __init__(
        self, workspace: Workspace, lane: str, idle_seconds: float = IDLE_SECONDS, modules: Sequence[str] = ()
    ):
        if lane not in LANES:
            raise ValueError(f"'{lane}' is no lane; there are: {', '.join(LANES)}")
        self.workspace, self.lane, self.idle_seconds, self.modules = workspace, lane, idle_seconds, modules
        self.slot = lane
        self._lock: FileLock | None = None

    def work(self) -> None:
        """Work through the lane until nothing waits any more; returns at once where each slot has its worker."""
        with queue_lock(self.workspace):  # nobody sees the slot taken and the jobs of its last worker still running
            taken = take_slot(self.workspace, self.lane)
            if taken is None:
                return
            self.slot, self._lock = taken
            self._tidy()
        for name in self.modules:
            importlib.import_module(name)
        idle_since = time.monotonic()
        while True:
            with queue_lock(self.workspace):
                waiting = queued_jobs(self.workspace, self.lane)
                if waiting:
                    claim(folder := waiting[0], self.slot)
                elif time.monotonic() - idle_since > self.idle_seconds:
                    self._release()  # under the queue's lock: no job can come between our last look and this
                    return
            if waiting:
                if len(waiting) > 1:
                    with suppress(ScfvizError, OSError):  # then they wait for this one
                        start_worker(self.workspace, (self.lane,))
                _redirect_output(folder / "worker.log")
                self._run(folder)
                _redirect_output(self.workspace.jobs / "worker.log")
                idle_since = time.monotonic()
            else:
                time.sleep(0.2)

    def _run(self, folder: Path) -> None:
        """Run one job to its end, whatever that is, and write down how it ended."""
        job = read_json(folder / "job.json")
        unfinished = folder / "result.partial"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        (folder / "work").mkdir(exist_ok=True)
        with (
            SharedCores(self.workspace, self.slot) as cores,
            Progress(folder, lambda: self._end_in_the_middle_of(folder)) as progress,
            shared_memory(partial(self._wait_for_memory, folder, progress)),
        ):

            def report(fraction: float, stage: str) -> None:
                cores.share()
                progress.report(fraction, stage)

            try:
                refuse_changed_inputs(job["options"], job["identity"])
                get_kind(job["kind"]).run(folder, job["options"], report, progress.should_stop)
                refuse_changed_inputs(job["options"], job["identity"])
                ending: dict[str, Any] = {"state": "done", "fraction": 1.0, "stage": "Done"}
            except Stopped:
                ending = {"state": "cancelled"}
            except ScfvizError as error:
                log.info("failed: %s", error)
                ending = {"state": "failed", "error": error.as_dict()}
            except Exception as error:  # the one place where a fault of our own must become a sentence
                log.exception("failed in the middle of '%s'", progress.stage)
                ending = {"state": "failed", "error": _explain(error, progress.stage, folder).as_dict()}
        with queue_lock(self.workspace):
            if ending["state"] == "done":
                shutil.rmtree(folder / "result", ignore_errors=True)
                unfinished.rename(folder / "result")
                shutil.rmtree(folder / "work", ignore_errors=True)
            else:
                shutil.rmtree(unfinished, ignore_errors=True)
            (folder / "cancel").unlink(missing_ok=True)
            finish(folder, **ending)

    def _wait_for_memory(self, folder: Path, progress: Progress, needed: float) -> float:
        """Wait until what runs beside leaves enough; returns bytes that it is still going to take."""
        while True:
            with queue_lock(self.workspace):
                room = find_room(self.workspace, folder)
                if room.fits(needed) or not room.is_growing:
                    progress.claim_memory(needed)
                    return room.promised
            progress.report(progress.fraction, "Waiting for memory that other computations use")
            if progress.should_stop():
                raise Stopped
            time.sleep(HEARTBEAT_SECONDS)

    def _end_in_the_middle_of(self, folder: Path) -> None:
        log.warning("asked to stop %.0f s ago and still busy: this process ends", CANCEL_GRACE_SECONDS)
        with queue_lock(self.workspace):
            (folder / "cancel").unlink(missing_ok=True)
            finish(folder, state="cancelled")
            self._release()
        start_worker(self.workspace, (self.lane,))  # for those who wait behind
        os._exit(0)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _tidy(self) -> None:
        """Note the jobs that a dead worker left behind: only the holder of the slot can be running one in it."""
        for folder in running_in(self.workspace, self.slot):
            finish(folder, state="interrupted")
        for pattern in (".new-*", ".removed-*"):
            for leftover in self.workspace.jobs.glob(pattern):
                shutil.rmtree(leftover, ignore_errors=True)


def _explain(error: Exception, stage: str, folder: Path) -> JobError:
    where = f"while it was busy with: {stage.lower()}"
    if isinstance(error, MemoryError):
        return JobError(
            f"The computer ran out of memory {where}.",
            advice="Close other programs, filter to fewer cells, or use a computer with more memory; then resume.",
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return JobError(f"The disk is full; the computation stopped {where}.", advice="Make room, then resume.")
    reason = (str(error).strip().splitlines() or ["no reason given"])[0]
    return JobError(
        f"The computation stopped {where} ({type(error).__name__}: {reason}).",
        advice=f"This is a fault of the program. Please report it with the file {folder / 'worker.log'}.",
    )


def _redirect_output(path: Path) -> None:
    """Send everything that this process prints, C libraries included, to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    with open(path, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _be_considerate(lane: str) -> None:
    """Leave the computer usable: the app comes first, then what a click asked for; larger machines keep a core free."""
    if hasattr(os, "nice"):
        now = os.nice(0)
        of_server = int(os.environ.setdefault(NICE_OF_SERVER, str(now)))  # a worker that starts another hands it on
        os.nice(max(of_server + (10 if lane == "long" else 5) - now, 0))
    prepare_threads(keep_free=1)


def main(argv: list[str]) -> int:
    """Work for the workspace `argv[0]` in the lane `argv[1]`, and leave after `argv[2]` idle seconds.

    The modules `argv[3:]` are imported first.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    _be_considerate(argv[1])
    Worker(Workspace(argv[0]), argv[1], *map(float, argv[2:3]), modules=argv[3:]).work()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
