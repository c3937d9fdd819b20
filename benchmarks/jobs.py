"""The queue and worker of scfviz beside an embedded Dask cluster: waiting time, overhead, memory, what a crash leaves.

    python benchmarks/jobs.py --dask-python ENV/bin/python     writes benchmarks/results/jobs.json
    python benchmarks/jobs.py --memory                         adds the peak memory of jobs by number of cells
    python benchmarks/jobs.py --memory markers markers:store   measures only that, of some kinds

Dask is no dependency of scfviz: give the interpreter of an environment that has `dask[distributed]` and `psutil`.
Each side is measured in processes of its own: a "server" that asks, and whatever it starts to compute.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve()
ROOT = HERE.parents[1]
RESULTS = HERE.parent / "results" / "jobs.json"
REPEATS, N_EMPTY = 5, 50
STEP_SECONDS, N_STEPS = 0.5, 6  # a job of three seconds, for the crash
CELLS = (5_000, 20_000, 60_000)


# --- the jobs, the same on both sides ---------------------------------------------------------------------------------


def note_start(path: str) -> None:
    """A job that does nothing but say when it began."""
    Path(path).write_text(repr(time.time()))


def work_in_steps(folder: str, name: str) -> None:
    """A job of several seconds that leaves a file when it is done."""
    for step in range(N_STEPS):
        (Path(folder) / f"{name}.step").write_text(str(step))
        time.sleep(STEP_SECONDS)
    (Path(folder) / f"{name}.done").touch()


def prepare(options, workspace):
    """A kind of job for scfviz's queue: this module."""
    return options, options


def datasets(options):
    """None."""
    return ()


def run(folder, options, report, should_stop):
    """See `scfviz.jobs.kinds`."""
    if "start" in options:
        note_start(options["start"])
    else:
        work_in_steps(options["folder"], options["name"])
    (folder / "result.partial" / "ok").touch()


# --- the two sides as servers -----------------------------------------------------------------------------------------


class Queue:
    """scfviz: a folder and its worker processes."""

    def __init__(self, folder: Path):
        sys.path.insert(0, str(HERE.parent))
        from scfviz import jobs
        from scfviz.jobs import kinds, queue

        kinds.KINDS["bench"] = "jobs"
        self.jobs, self.workspace = jobs, jobs.Workspace(folder / "workspace")
        queue.WORKER = (str(HERE), "--worker")
        self.queue = queue

    def ask(self, options: dict):
        return self.jobs.submit(self.workspace, "bench", options)

    def is_done(self, asked) -> bool:
        return not self.jobs.status(self.workspace, asked).is_active


class Dask:
    """Dask distributed: scheduler in the server's process, one worker process under a nanny."""

    def __init__(self, folder: Path):
        from distributed import Client, LocalCluster

        self.cluster = LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, local_directory=str(folder)
        )
        self.client = Client(self.cluster)

    def ask(self, options: dict):
        if "start" in options:
            return self.client.submit(note_start, options["start"], pure=False)
        return self.client.submit(work_in_steps, options["folder"], options["name"], pure=False)

    def is_done(self, asked) -> bool:
        return asked.done()


SIDES = {"scfviz": Queue, "dask": Dask}


def measure_waiting(side: str, folder: Path) -> dict:
    """Run in a fresh process: from the wish to the first instruction, cold and warm; overhead; memory at rest."""
    import psutil

    me = psutil.Process()
    before_bytes, cold_start = me.memory_info().rss, time.time()
    server = SIDES[side](folder)

    def wait_for_start(name: str) -> float:
        path = folder / name
        asked = server.ask({"start": str(path)})
        while not path.exists() or not path.read_text():
            time.sleep(0.002)
        started = float(path.read_text())
        while not server.is_done(asked):
            time.sleep(0.005)
        return started

    cold = wait_for_start("cold") - cold_start
    warm = []
    for number in range(REPEATS):
        time.sleep(0.7)
        asked_at = time.time()
        warm.append(wait_for_start(f"warm{number}") - asked_at)
    begin = time.time()
    asked = [server.ask({"start": str(folder / f"empty{number}")}) for number in range(N_EMPTY)]
    while not all(server.is_done(one) for one in asked):
        time.sleep(0.01)
    per_job = (time.time() - begin) / N_EMPTY
    time.sleep(1.0)
    helpers = me.children(recursive=True)
    found = {
        "cold_start_s": cold,
        "warm_start_s": warm,
        "overhead_per_job_s": per_job,
        "rest_server_bytes": me.memory_info().rss - before_bytes,
        "rest_helpers_bytes": sum(process.memory_info().rss for process in helpers),
        "n_helpers": len(helpers),
    }
    for process in helpers:
        process.kill()
    return found


def serve(side: str, folder: Path) -> None:
    """A server that has asked for three jobs and then waits to be killed."""
    server = SIDES[side](folder)
    asked = [server.ask({"folder": str(folder), "name": name}) for name in ("first", "second", "third")]
    (folder / "asked").write_text(json.dumps([one if isinstance(one, str) else "" for one in asked]))
    time.sleep(600)


# --- the crash --------------------------------------------------------------------------------------------------------


def measure_crash(side: str, python: str, *, also_workers: bool) -> dict:
    """Kill the server (and what computes for it) in the middle of the first of three jobs; see what is left."""
    import psutil

    folder = Path(tempfile.mkdtemp(prefix=f"crash-{side}-"))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    server = subprocess.Popen([python, str(HERE), "--serve", side, str(folder)], env=environment)
    until = time.monotonic() + 60
    while not (folder / "first.step").exists() or not (folder / "asked").exists():
        assert server.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    time.sleep(2 * STEP_SECONDS)
    helpers = psutil.Process(server.pid).children(recursive=True)
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    if also_workers:
        for process in helpers:
            if process.is_running():
                process.kill()
    time.sleep(3 * N_STEPS * STEP_SECONDS + 4)
    left = {
        "finished_without_server": sum((folder / f"{name}.done").exists() for name in ("first", "second", "third")),
        "helpers_alive_after": sum(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in helpers),
    }
    if side == "scfviz":  # what a new server finds
        again = Queue(folder)
        states = [job.state for job in again.jobs.list_jobs(again.workspace)]
        left["found_by_new_server"] = sorted(states)
        for job in again.jobs.list_jobs(again.workspace):
            if job.state == "interrupted":
                again.jobs.resume(again.workspace, job.id)
        again.queue.start_worker(again.workspace)
        asked = json.loads((folder / "asked").read_text())
        until = time.monotonic() + 60
        while not all(again.is_done(one) for one in asked) and time.monotonic() < until:
            time.sleep(0.1)
        left["finished_after_resume"] = sum((folder / f"{n}.done").exists() for n in ("first", "second", "third"))
    else:
        left["found_by_new_server"] = []  # the scheduler lived in the killed process: nobody knows the jobs any more
        left["finished_after_resume"] = left["finished_without_server"]
    for process in helpers:
        if process.is_running():
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)
    return left


# --- memory of our own jobs -------------------------------------------------------------------------------------------


N_REFERENCE = 500  # cells that others are mapped onto


def make_dataset(path: Path, n_obs: int) -> None:
    """Cells with some 1,000 expressed genes each, as a 10x run has them."""
    import anndata as ad
    import numpy as np
    import pandas as pd
    from scipy import sparse

    from scfviz.data.genes import load_vocabulary

    rng, genes = np.random.default_rng(0), np.array(load_vocabulary().symbols)
    per_cell = rng.integers(500, 1_500, n_obs)
    chance = rng.gamma(0.3, size=len(genes))
    columns = rng.choice(len(genes), int(per_cell.sum()), p=chance / chance.sum())
    counts = sparse.csr_matrix(
        (rng.poisson(2.0, len(columns)).astype(np.float32) + 1, columns, np.concatenate([[0], np.cumsum(per_cell)])),
        shape=(n_obs, len(genes)),
    )
    counts.sum_duplicates()
    group = pd.Categorical(np.where(np.arange(n_obs) % 2, "a", "b"))
    kind = pd.Categorical(np.char.add("type ", (np.arange(n_obs) // 2 % 6).astype(str)))
    obs = pd.DataFrame({"group": group, "type": kind}, index=[f"cell{i}" for i in range(n_obs)])
    ad.AnnData(counts, obs, pd.DataFrame(index=genes)).write_h5ad(path)


def measured_kinds() -> list[str]:
    """Every registered kind of job that says how much memory it needs."""
    from scfviz.jobs.kinds import KINDS, get_kind
    from scfviz.tasks.registry import TASKS

    of_tasks = [name for name, task in TASKS.items() if task.memory is not None]
    return of_tasks + [name for name in KINDS if name != "bench" and hasattr(get_kind(name), "memory")]


def memory_options(kind: str, dataset: str) -> dict:
    """Options of a kind on the dataset of `make_dataset`; kinds that need more than the dataset are named here."""
    from scfviz.analysis.selection.rules import Categories, to_json

    more = {
        "embedding": {"checkpoint": str(ROOT / "assets" / "checkpoints" / "scfviz-small")},
        "differential_expression": {"group": to_json(Categories("group", ("a",)))},
        "markers": {"column": "group"},
        "in_silico": {"checkpoint": str(ROOT / "assets" / "checkpoints" / "scfviz-small"), "gene": "CD3D"},
        "perturbation": {"column": "group", "control": "a", "conditions": "other"},
        "response": {
            "checkpoint": str(ROOT / "assets" / "checkpoints" / "scfviz-small"),
            "column": "group",
            "control": "a",
            "types": "type",
        },
        "set_score": {"genes": ["CD3D", "CD3E", "CD3G"]},
    }
    if kind == "mapping":
        reference = Path(dataset).with_name("reference.h5ad")
        if not reference.exists():
            make_dataset(reference, N_REFERENCE)
        more[kind] = more["embedding"] | {"reference": str(reference)}
    return {"dataset": dataset} | more.get(kind, {})


FROM_STORE = ":store"  # behind a kind that is measured with the counts by genes
STORED = tuple(kind + FROM_STORE for kind in ("differential_expression", "markers"))


def build_store(dataset: str) -> str:
    """The counts by genes beside a dataset, made once."""
    from scfviz.data.gene_store import build_gene_store
    from scfviz.data.open import open_dataset

    folder = Path(dataset).with_suffix(".store")
    if not folder.exists():
        build_gene_store(open_dataset(dataset).counts, folder)
    return str(folder)


class OwnMemory:
    """The most bytes that this process has had of its own, looked at a hundred times a second.

    Files that are mapped into memory are not counted: the system takes their pages back when others need them.
    """

    def __init__(self) -> None:
        self.peak = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, status_bytes("RssAnon"))
            time.sleep(0.01)


def status_bytes(name: str) -> int:
    """A line of the process's own status, in bytes; `ru_maxrss` would count what the parent held when it forked."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def run_one(kind: str, dataset: str) -> dict:
    """One job in this process: its peak memory in bytes, in all and of its own, and the estimate."""
    from scfviz.jobs.kinds import get_kind, need_of
    from scfviz.jobs.memory import estimate
    from scfviz.jobs.workspace import Workspace

    name, own = kind.removesuffix(FROM_STORE), OwnMemory()
    options = memory_options(name, dataset)
    if name != kind:
        options["gene_store"] = str(Path(dataset).with_suffix(".store"))
    module = get_kind(name)
    root = Path(tempfile.mkdtemp(prefix="memory-"))
    options, identity = module.prepare(options, Workspace(root))
    folder = root / "jobs" / ("0" * 16)
    (folder / "result.partial").mkdir(parents=True)
    (folder / "work").mkdir()
    (folder / "job.json").write_text(json.dumps({"identity": identity}))
    module.run(folder, options, lambda *_: None, lambda: False)
    shutil.rmtree(folder.parents[1])
    n_obs = int(Path(dataset).stem)
    found = estimate(need_of(name, options), n_obs)
    peaks = {"peak_bytes": status_bytes("VmHWM"), "own_bytes": own.peak}
    return {"kind": kind, "n_obs": n_obs} | peaks | {"estimated_bytes": found and found.needed}


def measure_memory(kinds: list[str], cells: tuple[int, ...] = CELLS) -> list[dict]:
    """Peak memory of kinds that say what they need, each in a process of its own; see `run_one`."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for n_obs in cells:
            path = Path(folder) / f"{n_obs}.h5ad"
            make_dataset(path, n_obs)
            if any(kind.endswith(FROM_STORE) for kind in kinds):
                build_store(str(path))
            for kind in kinds:
                command = [sys.executable, str(HERE), "--one", kind, str(path)]
                environment = os.environ | {"PYTHONPATH": str(ROOT), "SCFVIZ_WORKSPACE": str(Path(folder) / "w")}
                shown = subprocess.run(command, env=environment, capture_output=True, check=True)
                rows.append(json.loads(shown.stdout))
                print(rows[-1], flush=True)
    return rows


def measure_beside() -> dict:
    """Seconds from asking to the end: the embedding of the demo, and a comparison asked for right after it.

    In one queue the comparison would have ended after the embedding.
    """
    from scfviz import jobs
    from scfviz.analysis.selection.rules import Categories, to_json
    from scfviz.data.catalog import demo_path

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        workspace, dataset = jobs.Workspace(folder), str(demo_path("pbmc68k_reduced", Path(folder) / "data"))
        group = to_json(Categories("bulk_labels", ("Dendritic",)))
        start = time.monotonic()
        waiting = {
            "embedding_s": jobs.submit(
                workspace,
                "embedding",
                {"dataset": dataset, "checkpoint": str(ROOT / "assets" / "checkpoints" / "scfviz-small")},
            ),
            "comparison_s": jobs.submit(workspace, "differential_expression", {"dataset": dataset, "group": group}),
        }
        seconds = {}
        while waiting:
            for name, job_id in list(waiting.items()):
                now = jobs.status(workspace, job_id)
                if not now.is_active:
                    assert now.state == "done", now
                    seconds[name] = time.monotonic() - start
                    del waiting[name]
            time.sleep(0.05)
    return seconds


def in_process(python: str, side: str) -> dict:
    """`measure_waiting` in a fresh process; the waits are medians."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [python, str(HERE), "--waiting", side, folder]
        shown = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=True)
    found = json.loads(shown.stdout.decode().strip().splitlines()[-1])
    found["warm_start_s"] = statistics.median(found["warm_start_s"])
    return found


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dask-python", help="interpreter of an environment with dask[distributed]")
    parser.add_argument("--memory", nargs="*", metavar="KIND", help="measure the memory of jobs, too; of some, alone")
    for inner in ("worker", "serve", "waiting", "one"):
        parser.add_argument(f"--{inner}", nargs=3 if inner == "worker" else 2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.worker:
        sys.path.insert(0, str(HERE.parent))
        from scfviz.jobs import kinds, queue, worker

        kinds.KINDS["bench"], queue.WORKER = "jobs", (str(HERE), "--worker")
        return worker.main(args.worker)
    if args.serve:
        serve(args.serve[0], Path(args.serve[1]))
    elif args.waiting:
        print(json.dumps(measure_waiting(args.waiting[0], Path(args.waiting[1]))))
        sys.stdout.flush()
        os._exit(0)  # a cluster takes seconds to close, which is none of the numbers
    elif args.one:
        print(json.dumps(run_one(*args.one)))
    elif args.memory:
        report = json.loads(RESULTS.read_text())
        others = [row for row in report.get("memory", []) if row["kind"] not in args.memory]
        report["memory"] = others + measure_memory(args.memory)
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    else:
        report = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        report |= {"date": time.strftime("%Y-%m-%d"), "n_cores": os.cpu_count(), "load_average": os.getloadavg()[0]}
        sides = {"scfviz": sys.executable} | ({"dask": args.dask_python} if args.dask_python else {})
        for side, python in sides.items():
            runs = [in_process(python, side) for _ in range(3)]
            report[side] = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
            report[side]["server_killed"] = measure_crash(side, python, also_workers=False)
            report[side]["all_killed"] = measure_crash(side, python, also_workers=True)
            print(side, json.dumps(report[side], indent=1), flush=True)
        runs = [measure_beside() for _ in range(3)]
        report["beside"] = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        print("beside", report["beside"], flush=True)
        if args.memory is not None:
            report["memory"] = measure_memory([*measured_kinds(), *STORED])
        RESULTS.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
