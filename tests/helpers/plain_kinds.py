"""Jobs without science, so that queue, worker and cancel can be tested in real processes without loading torch.

Run as a script it is a worker that knows them: `python plain_kinds.py <workspace> <lane> <idle seconds>`. It takes the
number of cores and the free memory from the environment, where they are given.
"""

import os
import sys
import time
from contextlib import contextmanager

from filelock import FileLock, Timeout

from scfviz.data import memory
from scfviz.data.memory import Need
from scfviz.errors import Stopped
from scfviz.jobs import kinds, slots
from scfviz.jobs.memory import refuse_what_cannot_fit


def prepare(options, workspace):
    return options, options


def datasets(options):
    return tuple(options[name] for name in ("dataset",) if options.get(name))


def run(folder, options, report, should_stop):
    """Steps of a tenth of a second, each kept on disk.

    `deaf` never looks at the cancel flag; `fault` breaks at the end; `meet` waits until so many run at once; `need` is
    memory in bytes. `starts.txt` has a line for each start, with the priority; `twice.txt`, for what was started
    while it ran.
    """
    root = folder.parents[1]
    note(root / "starts.txt", f"{folder.name} {os.nice(0)}")
    with alone(root / f"{folder.name}.lock", root / "twice.txt"):
        if options.get("need"):
            refuse_what_cannot_fit(Need(options["need"], 0.0, "Numbers"), 1)
            with alone(root / "memory.lock", root / "twice.txt"):
                work(folder, options, report, should_stop)
        else:
            work(folder, options, report, should_stop)


def note(path, line):
    with path.open("a") as file:
        file.write(f"{line}\n")


@contextmanager
def alone(lock, complaints):
    """Complain where another process is in the same place; a lock goes with the process that holds it."""
    try:
        with FileLock(lock, blocking=False):
            yield
    except Timeout:
        note(complaints, lock.name)
        raise


def work(folder, options, report, should_stop):
    meeting = folder.parents[1] / "meeting"
    meeting.mkdir(exist_ok=True)
    (meeting / folder.name).touch()
    until = time.monotonic() + 60
    while len(list(meeting.iterdir())) < options.get("meet", 0) and time.monotonic() < until:
        time.sleep(0.02)
    if time.monotonic() > until:
        raise TimeoutError("the others did not come")
    kept = folder / "work" / "steps.txt"
    done = len(kept.read_text().split()) if kept.exists() else 0
    for step in range(done, options["steps"]):
        report(step / options["steps"], "Working")
        if should_stop() and not options.get("deaf"):
            raise Stopped
        time.sleep(0.1)
        with kept.open("a") as file:
            file.write(f"{step}\n")
    if options.get("fault") == "disk":
        raise OSError(28, "No space left on device")
    if options.get("fault") == "memory":
        raise MemoryError
    if options.get("fault"):
        raise KeyError("something\nthat should not happen")
    (folder / "result.partial" / "steps.txt").write_text(kept.read_text())


if __name__ == "__main__":
    from scfviz.jobs import queue, room, worker

    kinds.KINDS |= {"plain": "plain_kinds", "slow": "plain_kinds"}
    kinds.LONG.add("slow")
    queue.WORKER, queue.IDLE_SECONDS = (__file__,), float(sys.argv[3])
    if cores := os.environ.get("PLAIN_CORES"):
        slots.available_cores = lambda: int(cores)
    if free := os.environ.get("PLAIN_FREE"):
        memory.free_memory = room.free_memory = lambda: float(free)
    raise SystemExit(worker.main(sys.argv[1:]))
