"""Order in the queue: real worker processes, quick jobs."""

import itertools
import json
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from scfviz import jobs
from scfviz.errors import JobError, OptionError
from scfviz.jobs import kinds, queue, slots, turns, worker
from scfviz.jobs.workspace import read_json

HELPERS = Path(__file__).resolve().parents[1] / "helpers"


@pytest.fixture
def use_cores(monkeypatch):
    """Decides how many cores the queue and its workers see."""

    def use(n_cores):
        monkeypatch.setenv("PLAIN_CORES", str(n_cores))
        monkeypatch.setattr(slots, "available_cores", lambda: n_cores)

    return use


@pytest.fixture
def workspace(tmp_path, monkeypatch, use_cores):
    monkeypatch.setitem(kinds.KINDS, "plain", "plain_kinds")
    use_cores(1)
    return jobs.Workspace(tmp_path / "workspace")


@pytest.fixture
def start(workspace, monkeypatch):
    """Workers that know the kind `plain`: the queue starts them, and a test can; all end with the test."""
    monkeypatch.setattr(queue, "WORKER", (str(HELPERS / "plain_kinds.py"),))
    monkeypatch.setattr(queue, "IDLE_SECONDS", 0.3)

    def start_plain(*, lane="quick", idle=0.3):
        command = [sys.executable, *queue.WORKER, str(workspace.root), lane, str(idle)]
        environment = os.environ | {"PYTHONPATH": str(HELPERS.parents[1])}
        return subprocess.Popen(command, env=environment, start_new_session=True)

    yield start_plain
    monkeypatch.setattr(queue, "_start_worker", lambda *asked: None)  # after one that is killed comes no other
    while working := workers_of(workspace):
        for process in working:
            kill(process.pid)


def workers_of(workspace):
    """Processes of workers of a workspace."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and str(workspace.root) in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def kill(pid):
    """End a process as nothing can keep it from, and wait until it is gone."""
    try:
        process = psutil.Process(pid)
        process.kill()
        # its locks are free when its last thread has gone, which may be after the process is called a zombie
        while process.is_running() and (process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1):
            time.sleep(0.01)
    except psutil.NoSuchProcess:
        return


def starts_of(workspace):
    """Ids of jobs, one for each start."""
    return [line.split()[0] for line in (workspace.root / "starts.txt").read_text().splitlines()]


def assert_nothing_ran_twice_at_once(workspace):
    assert not (workspace.root / "twice.txt").exists()


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


def test_as_many_run_at_once_as_there_are_cores_and_each_once(workspace, start, use_cores):
    use_cores(3)
    ids = [jobs.submit(workspace, "plain", {"steps": 2, "name": n, "meet": 3}) for n in range(7)]
    while any((now := jobs.status(workspace, job_id)).is_active for job_id in ids):
        # Jobs are looked at one after the other: only those that run in two looks ran at the same moment.
        looks = [{job.id for job in jobs.list_jobs(workspace) if job.state == "running"} for _ in range(2)]
        assert len(looks[0] & looks[1]) <= 3
        time.sleep(0.02)
    assert {jobs.status(workspace, job_id).state for job_id in ids} == {"done"}, now
    assert sorted(starts_of(workspace)) == sorted(ids)
    assert_nothing_ran_twice_at_once(workspace)


def test_one_request_starts_workers_for_all_that_wait(workspace, start, use_cores, monkeypatch):
    use_cores(3)
    with monkeypatch.context() as patch:
        patch.setattr(queue, "start_worker", lambda *_: None)
        ids = [jobs.submit(workspace, "plain", {"steps": 1, "name": n, "meet": 3}) for n in range(3)]
    queue.start_worker(workspace)
    for job_id in ids:
        wait_for(workspace, job_id, "done", seconds=90)
    priorities = {line.split()[1] for line in (workspace.root / "starts.txt").read_text().splitlines()}
    assert priorities == {str(min(os.nice(0) + 5, 19))}, "also of those that a worker started"


def test_visitors_take_turns(workspace, start, monkeypatch):
    """Who asks for one thing does not wait behind the twenty of another, and knows their place."""
    ids = {}
    with monkeypatch.context() as patch:
        patch.setattr(queue, "start_worker", lambda *_: None)
        for name in ("a0", "a1", "a2", "a3", "b0", "c0", "c1"):
            ids[name] = jobs.submit(workspace, "plain", {"steps": 1, "name": name}, asked_by=name[0])
    order = ["a0", "b0", "c0", "a1", "c1", "a2", "a3"]
    assert [job.id for job in jobs.jobs_ahead(workspace, ids["c1"])] == [ids[name] for name in order[:4]]
    queue.start_worker(workspace)
    for job_id in ids.values():
        wait_for(workspace, job_id, "done", seconds=60)
    assert starts_of(workspace) == [ids[name] for name in order]


def test_turns_are_fair_to_who_comes_and_pass_nobody_over():
    rng, seconds = random.Random(0), itertools.count(1)
    for _ in range(30):
        waiting, served, order, came = [], {}, [], {}
        for number in range(rng.randrange(1, 40)):
            waiting.append(turns.Waiting(next(seconds), Path(str(number)), rng.choice("aaaab")))
            came[waiting[-1].folder] = len(order)
            while waiting and rng.random() < 0.4:
                said = turns.in_turn(waiting, served)
                job = next(one for one in waiting if one.folder == said[0])
                waiting.remove(job)
                served[job.owner] = next(seconds)
                order.append(job)
                rest = turns.in_turn(waiting, served)
                assert rest == said[1:], "a place in the queue holds as long as nobody else comes"
        waiting.append(new := turns.Waiting(next(seconds), Path("new"), "c"))
        assert turns.in_turn(waiting, served).index(new.folder) <= len({job.owner for job in waiting} - {"c"})
        for owner in "ab":
            mine = [job.since for job in order if job.owner == owner]
            assert mine == sorted(mine)


def test_computations_share_the_memory(workspace, start, use_cores, monkeypatch):
    """Two that fit one after the other, not both at once; one that fits never is refused while they run."""
    use_cores(3)
    monkeypatch.setenv("PLAIN_FREE", "10e9")
    ids = [jobs.submit(workspace, "plain", {"steps": 3, "name": n, "need": 6e9}) for n in range(3)]
    large = jobs.submit(workspace, "plain", {"steps": 1, "need": 11e9})
    for job_id in ids:
        wait_for(workspace, job_id, "done", seconds=60)
    assert "11.0 GB of memory would be needed" in wait_for(workspace, large, "failed", seconds=60).error["found"]
    assert_nothing_ran_twice_at_once(workspace)


def test_a_killed_worker_takes_one_job_with_it_and_another_comes(workspace, start, use_cores):
    use_cores(2)
    first, second = (jobs.submit(workspace, "plain", {"steps": 40, "name": n, "meet": 2}) for n in range(2))
    behind = [jobs.submit(workspace, "plain", {"steps": 1, "name": n}) for n in range(2, 5)]
    for job_id in (first, second):
        while not (workspace.jobs / job_id / "work" / "steps.txt").exists():
            assert jobs.status(workspace, job_id).is_active
            time.sleep(0.02)
    kill(read_json(workspace.jobs / first / "status.json")["pid"])
    assert jobs.status(workspace, first).state == "interrupted" and jobs.status(workspace, second).state == "running"
    for job_id in behind:
        wait_for(workspace, job_id, "done", seconds=60)
    assert jobs.status(workspace, first).state == "interrupted", "what may have killed it isn't tried again unasked"
    wait_for(workspace, second, "done", seconds=60)
    assert sorted(starts_of(workspace)) == sorted([first, second, *behind])


def test_whatever_is_killed_nothing_is_lost_or_done_twice(workspace, start, use_cores):
    """Workers die at any moment, also while they take a slot or a job; a new server finds what waits, and resumes."""
    use_cores(3)
    rng = random.Random(1)
    ids = [jobs.submit(workspace, "plain", {"steps": 5, "name": n}, asked_by=rng.choice("abc")) for n in range(12)]
    n_killed, until = 0, time.monotonic() + 240
    while not all(jobs.status(workspace, job_id).state == "done" for job_id in ids):
        assert time.monotonic() < until, [jobs.status(workspace, job_id) for job_id in ids]
        time.sleep(rng.uniform(0.0, 0.4))
        if n_killed < 25 and (working := workers_of(workspace)):
            kill(rng.choice(working).pid)
            n_killed += 1
        for job_id in ids:
            if jobs.status(workspace, job_id).state == "interrupted":
                jobs.resume(workspace, job_id)
        queue.start_worker(workspace)
    assert n_killed
    for job_id in ids:
        assert (jobs.result_dir(workspace, job_id) / "steps.txt").read_text().split() == list("01234")
    assert_nothing_ran_twice_at_once(workspace)


def test_a_server_that_is_killed_while_it_asks_loses_nothing(workspace, start, use_cores):
    use_cores(2)
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from scfviz import jobs; from scfviz.jobs import kinds, queue;"
        "kinds.KINDS['plain'] = 'plain_kinds'; queue.WORKER = (sys.argv[2] + '/plain_kinds.py',);"
        "queue.IDLE_SECONDS = 0.3; w = jobs.Workspace(sys.argv[1]);"
        "[print(jobs.submit(w, 'plain', {'steps': 1, 'name': f'{sys.argv[3]} {n}'}), flush=True) for n in range(9)]"
    )
    environment = os.environ | {"PYTHONPATH": str(HELPERS.parents[1])}
    asked = set()
    for n in range(4):
        command = [sys.executable, "-c", code, str(workspace.root), str(HELPERS), str(n)]
        server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        asked |= {server.stdout.readline().strip() for _ in range(3 * n)}
        kill(server.pid)
        asked |= set(server.communicate()[0].split())
    queue.start_worker(workspace)
    found = {job.id for job in jobs.list_jobs(workspace)}
    assert len(asked) >= 9 and asked <= found
    for job_id in found:
        wait_for(workspace, job_id, "done", seconds=120)
    assert sorted(starts_of(workspace)) == sorted(found)
    assert not list(workspace.jobs.glob(".new-*"))


def test_a_waiting_job_knows_what_is_in_front_of_it(workspace, monkeypatch):
    monkeypatch.setattr(queue, "start_worker", lambda *_: None)
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
    slow, behind = (jobs.submit(workspace, "slow", {"steps": 60, "name": n}) for n in range(2))
    wait_for(workspace, slow, "running")
    quick = jobs.submit(workspace, "plain", {"steps": 2})
    wait_for(workspace, quick, "done")
    assert jobs.status(workspace, slow).state == "running" and jobs.status(workspace, behind).state == "queued"
    kill(read_json(workspace.jobs / slow / "status.json")["pid"])
    wait_for(workspace, slow, "interrupted")  # the other lane's worker does not hide it
    jobs.cancel(workspace, slow)
    assert jobs.status(workspace, slow).state == "cancelled"


def test_a_new_worker_leaves_the_jobs_of_the_other_lane_alone(workspace, start, monkeypatch):
    monkeypatch.setitem(kinds.KINDS, "slow", "plain_kinds")
    monkeypatch.setattr(kinds, "LONG", {"slow"})
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
    kill(pid)
    now = jobs.status(workspace, job_id)
    assert now.state == "interrupted" and 0.3 <= now.fraction < 1 and now.seconds_left is None
    with pytest.raises(JobError, match="interrupted"):
        jobs.result_dir(workspace, job_id)
    wait_for(workspace, behind, "done")  # another worker came
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
        seen = list(pool.map(lambda n: slots.worker_is_alive(workspace, f"quick-{n % 2}"), range(400)))
    assert not any(seen)


def test_looks_hinder_nobody_who_takes_a_slot_and_none_is_taken_twice(workspace, use_cores):
    """A worker that took a look for another worker would leave, and its slot would stay empty."""
    use_cores(4)
    with ThreadPoolExecutor(8) as pool:
        looks = [pool.submit(slots.worker_is_alive, workspace, slots.slots("quick")[n % 4]) for n in range(200)]
        taken = list(pool.map(lambda _: slots.take_slot(workspace, "quick"), range(6)))
    assert sorted(slot for slot, _ in filter(None, taken)) == sorted(slots.slots("quick"))
    assert all(slots.worker_is_alive(workspace, slot) for slot in slots.slots("quick")) and looks


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
    _, lock = slots.take_slot(workspace, "quick")
    queue.warm_worker(workspace, "quick", ("this", "that"))
    lock.release()
    assert len(started) == 1, "one lives already"
    sys.modules.pop("imported_first", None)
    (workspace.root / "imported_first.py").write_text("from pathlib import Path\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(workspace.root))
    worker.Worker(workspace, "quick", 0, ("imported_first",)).work()
    assert sys.modules.pop("imported_first")
