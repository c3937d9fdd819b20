"""Order in the queue: real worker processes, quick jobs."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from scfviz import jobs
from scfviz.errors import JobError, OptionError
from scfviz.jobs import kinds, queue, worker
from scfviz.jobs.workspace import read_json

HELPERS = Path(__file__).resolve().parents[1] / "helpers"


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setitem(kinds.KINDS, "plain", "plain_kinds")
    return jobs.Workspace(tmp_path / "workspace")


@pytest.fixture
def start(workspace, monkeypatch):
    """Workers that know the kind `plain`; whatever still runs is ended with the test."""
    started = []

    def start_plain(_workspace=None, *, lane="quick", idle=0.3):
        command = [sys.executable, str(HELPERS / "plain_kinds.py"), str(workspace.root), lane, str(idle)]
        environment = os.environ | {"PYTHONPATH": str(HELPERS.parents[1])}
        started.append(subprocess.Popen(command, env=environment, start_new_session=True))
        return started[-1]

    monkeypatch.setattr(queue, "start_worker", start_plain)
    yield start_plain
    for process in started:
        process.kill()
        process.wait()


def wait_for(workspace, job_id, *states, seconds=20.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        now = jobs.status(workspace, job_id)
        if now.state in states:
            return now
        time.sleep(0.02)
    raise AssertionError(f"still {now} after {seconds} s")


def test_jobs_run_one_at_a_time_in_the_order_they_came(workspace, start):
    ids = [jobs.submit(workspace, "plain", {"steps": 3, "name": n}) for n in range(3)]
    most_running, ends = 0, {}
    while len(ends) < 3:
        now = {job.id: job for job in jobs.list_jobs(workspace)}
        most_running = max(most_running, sum(job.state == "running" for job in now.values()))
        ends |= {i: job.finished_at for i, job in now.items() if job.state == "done"}
        time.sleep(0.01)
    assert most_running == 1
    assert sorted(ids, key=ends.get) == ids
    assert [job.id for job in jobs.list_jobs(workspace)] == ids[::-1]


def test_a_waiting_job_knows_what_is_in_front_of_it(workspace, monkeypatch):
    monkeypatch.setattr(queue, "start_worker", lambda workspace: None)
    monkeypatch.setitem(kinds.KINDS, "slow", "plain_kinds")
    monkeypatch.setattr(kinds, "LONG", {"slow"})
    first, second, third = (jobs.submit(workspace, "plain", {"steps": 1, "name": n}) for n in range(3))
    jobs.submit(workspace, "slow", {"steps": 1})  # another worker does it
    assert [job.id for job in jobs.jobs_ahead(workspace, first)] == []
    assert [job.id for job in jobs.jobs_ahead(workspace, third)] == [first, second]
    jobs.cancel(workspace, second)
    assert [job.id for job in jobs.jobs_ahead(workspace, third)] == [first]
    assert jobs.jobs_ahead(workspace, second) == []
    jobs.resume(workspace, second)  # it waits at the end of the queue now
    assert [job.id for job in jobs.jobs_ahead(workspace, second)] == [first, third]


def test_what_a_click_asks_for_does_not_wait_behind_a_long_computation(workspace, start, monkeypatch):
    monkeypatch.setitem(kinds.KINDS, "slow", "plain_kinds")
    monkeypatch.setattr(kinds, "LONG", {"slow"})
    long = start(lane="long")
    slow, behind = (jobs.submit(workspace, "slow", {"steps": 60, "name": n}) for n in range(2))
    wait_for(workspace, slow, "running")
    quick = jobs.submit(workspace, "plain", {"steps": 2})
    wait_for(workspace, quick, "done")
    assert jobs.status(workspace, slow).state == "running" and jobs.status(workspace, behind).state == "queued"
    long.kill()
    long.wait()
    assert jobs.status(workspace, slow).state == "interrupted", "the other lane's worker does not hide it"
    jobs.cancel(workspace, slow)
    assert jobs.status(workspace, slow).state == "cancelled"


def test_a_new_worker_leaves_the_jobs_of_the_other_lane_alone(workspace, start, monkeypatch):
    monkeypatch.setitem(kinds.KINDS, "slow", "plain_kinds")
    monkeypatch.setattr(kinds, "LONG", {"slow"})
    start(lane="long")
    slow = jobs.submit(workspace, "slow", {"steps": 60})
    wait_for(workspace, slow, "running")
    assert start(idle=0.1).wait(timeout=10) == 0
    assert jobs.status(workspace, slow).state == "running"


def test_same_request_is_the_same_job(workspace, start):
    first = jobs.submit(workspace, "plain", {"steps": 1, "a": 1})
    assert jobs.submit(workspace, "plain", {"a": 1, "steps": 1}) == first
    assert jobs.submit(workspace, "plain", {"steps": 1, "a": 2}) != first
    end = wait_for(workspace, first, "done").finished_at
    assert jobs.submit(workspace, "plain", {"steps": 1, "a": 1}) == first
    assert jobs.status(workspace, first).finished_at == end
    assert len(jobs.list_jobs(workspace)) == 2


def test_result_is_there_only_when_it_is_whole(workspace, start):
    job_id = jobs.submit(workspace, "plain", {"steps": 6})
    seen = set()
    while (now := jobs.status(workspace, job_id)).is_active:
        seen.add(now.fraction)
        if now.state == "running":
            with queue.queue_lock(workspace):  # result and state change together, under this lock
                is_there = (workspace.jobs / job_id / "result").exists()
                assert is_there == (jobs.status(workspace, job_id).state == "done")
            with pytest.raises(JobError, match="running|done"):
                jobs.result_dir(workspace, job_id)
                raise JobError("done")  # it finished between the two looks
        time.sleep(0.05)
    assert len(seen) > 1, "progress was seen"
    assert (jobs.result_dir(workspace, job_id) / "steps.txt").read_text().split() == list("012345")
    assert not (workspace.jobs / job_id / "work").exists()


def test_killed_worker_is_noticed_at_once_and_resume_goes_on(workspace, start):
    job_id = jobs.submit(workspace, "plain", {"steps": 12})
    behind = jobs.submit(workspace, "plain", {"steps": 1})
    while jobs.status(workspace, job_id).fraction < 0.3:
        time.sleep(0.02)
    pid = read_json(workspace.jobs / job_id / "status.json")["pid"]
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=5)
    now = jobs.status(workspace, job_id)
    assert now.state == "interrupted" and 0.3 <= now.fraction < 1 and now.seconds_left is None
    assert jobs.status(workspace, behind).state == "queued"
    with pytest.raises(JobError, match="interrupted"):
        jobs.result_dir(workspace, job_id)
    start()  # as the app does when it starts again
    wait_for(workspace, behind, "done")
    assert jobs.status(workspace, job_id).state == "interrupted", (
        "what may have killed a worker isn't tried again unasked"
    )
    kept = (workspace.jobs / job_id / "work" / "steps.txt").read_text()
    jobs.resume(workspace, job_id)
    wait_for(workspace, job_id, "done")
    steps = (jobs.result_dir(workspace, job_id) / "steps.txt").read_text()
    assert steps.split() == [str(n) for n in range(12)] and steps.startswith(kept)


def test_cancelled_jobs_stop_and_can_be_resumed(workspace, start):
    running = jobs.submit(workspace, "plain", {"steps": 30})
    waiting = jobs.submit(workspace, "plain", {"steps": 2})
    wait_for(workspace, running, "running")
    jobs.cancel(workspace, waiting)
    assert jobs.status(workspace, waiting).state == "cancelled"
    jobs.cancel(workspace, running)
    assert wait_for(workspace, running, "cancelled", seconds=3).finished_at
    jobs.resume(workspace, waiting)
    wait_for(workspace, waiting, "done")
    assert jobs.status(workspace, running).state == "cancelled"
    jobs.cancel(workspace, waiting)
    assert jobs.status(workspace, waiting).state == "done", "a finished job stays finished"


def test_job_that_does_not_listen_is_ended_and_the_next_one_runs(workspace, start):
    deaf = jobs.submit(workspace, "plain", {"steps": 600, "deaf": True})
    behind = jobs.submit(workspace, "plain", {"steps": 1})
    wait_for(workspace, deaf, "running")
    jobs.cancel(workspace, deaf)
    assert jobs.status(workspace, deaf).stage == "Stopping"
    wait_for(workspace, deaf, "cancelled", seconds=worker.CANCEL_GRACE_SECONDS + 5)
    wait_for(workspace, behind, "done")


@pytest.mark.parametrize(
    ("fault", "words"), [("disk", "disk is full"), ("memory", "out of memory"), ("other", "something")]
)
def test_unforeseen_fault_becomes_a_sentence_with_the_traceback_in_the_log_only(workspace, start, fault, words):
    job_id = jobs.submit(workspace, "plain", {"steps": 1, "fault": fault})
    error = wait_for(workspace, job_id, "failed").error
    assert words in error["found"] and error["advice"]
    assert not any("Traceback" in part or "\n" in part for part in error.values())
    assert "Traceback" in (workspace.jobs / job_id / "worker.log").read_text()


def test_second_worker_leaves_at_once(workspace, start):
    job_id = jobs.submit(workspace, "plain", {"steps": 40})
    wait_for(workspace, job_id, "running")
    assert start().wait(timeout=10) == 0
    assert jobs.status(workspace, job_id).state == "running"


def test_idle_worker_leaves(workspace, start):
    assert start(idle=0.1).wait(timeout=10) == 0
    assert not queue.worker_is_alive(workspace, "quick")


def test_removed_job_is_gone_and_a_running_one_cannot_be_removed(workspace, start):
    job_id = jobs.submit(workspace, "plain", {"steps": 3})
    wait_for(workspace, job_id, "running")
    with pytest.raises(JobError, match="not finished"):
        jobs.remove(workspace, job_id)
    wait_for(workspace, job_id, "done")
    jobs.remove(workspace, job_id)
    assert jobs.list_jobs(workspace) == []
    assert not [path for path in workspace.jobs.iterdir() if path.is_dir()]
    with pytest.raises(JobError, match="no such computation"):
        jobs.status(workspace, job_id)


def test_looks_that_meet_see_no_worker_where_there_is_none(workspace):
    """Else a job is queued, nobody starts a worker, and it waits for ever."""
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda _: queue.worker_is_alive(workspace, "quick"), range(400)))
    assert not any(seen)


@pytest.mark.parametrize("job_id", ["../../etc", "", "0123456789abcdeg", "0123456789abcdef", ".new-x"])
def test_ids_from_an_address_cannot_leave_the_folder(workspace, job_id):
    for look in (jobs.status, jobs.result_dir, jobs.cancel, jobs.resume, jobs.remove):
        with pytest.raises(JobError, match="no such computation"):
            look(workspace, job_id)


def test_unknown_kind_is_refused(workspace):
    with pytest.raises(OptionError, match="no kind"):
        jobs.submit(workspace, "../plain", {})
    assert jobs.list_jobs(workspace) == []


def test_status_is_read_by_a_new_process_without_heavy_imports(workspace, start):
    job_id = jobs.submit(workspace, "plain", {"steps": 1})
    wait_for(workspace, job_id, "done")
    code = (
        "import sys, json, dataclasses; from scfviz import jobs;"
        f"s = jobs.status(jobs.Workspace({str(workspace.root)!r}), {job_id!r});"
        "print(json.dumps([dataclasses.asdict(s), [m for m in ('torch', 'scanpy', 'numpy') if m in sys.modules]]))"
    )
    shown = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert shown[0]["state"] == "done" and shown[0]["options"] == {"steps": 1}
    assert shown[1] == []


def test_time_left_follows_the_pace_of_the_stage(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(worker.time, "monotonic", lambda: now[0])
    progress = worker.Progress(tmp_path, lambda: None)
    assert progress.seconds_left() is None
    progress.report(0.5, "Embedding")  # a resumed job starts in the middle: that is no pace
    assert progress.seconds_left() is None
    for step in range(1, 11):
        now[0] = 10.0 * step
        progress.report(0.5 + 0.01 * step, "Embedding")
    assert progress.seconds_left() == pytest.approx(400, rel=0.01)
    progress.report(0.7, "Drawing the map")
    assert progress.seconds_left() is None


def test_a_worker_is_ready_before_its_first_job_and_is_the_only_one(workspace, monkeypatch):
    """The first map waited for a process that began to load its libraries when it was asked for."""
    started = []
    monkeypatch.setattr(queue, "_start_worker", lambda *asked: started.append(asked))
    queue.warm_worker(workspace, "quick", ("this", "that"))
    assert started == [(workspace, "quick", ("this", "that"))]
    with queue.worker_lock(workspace, "quick"):
        queue.warm_worker(workspace, "quick", ("this", "that"))
    assert len(started) == 1, "one lives already"
    sys.modules.pop("imported_first", None)
    (workspace.root / "imported_first.py").write_text("from pathlib import Path\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(workspace.root))
    worker.Worker(workspace, "quick", 0, ("imported_first",)).work()
    assert sys.modules.pop("imported_first")
