"""Gene contexts on a cluster of processes: the same bytes as on one machine, whoever dies, stops or goes on."""

import json

import numpy as np
import pandas as pd
import pytest
from app_pages import work_off
from dask_processes import DaskProcesses, kill
from small_cells import save_tiny_checkpoint, write_cells

from scfviz import jobs
from scfviz.__main__ import main
from scfviz.data.open import open_dataset
from scfviz.errors import JobError, Stopped
from scfviz.jobs import queue, worker
from scfviz.model.checkpoint import load_checkpoint
from scfviz.model.cluster.worker import compute_window
from scfviz.model.cluster.workers import Workers
from scfviz.tasks.gene_modules import contexts as contexts_module
from scfviz.tasks.gene_modules.contexts import embed_contexts
from scfviz.tasks.gene_modules.run import CONTEXTS
from scfviz.tasks.result import read_result

N_OBS, GENES = 60, np.arange(0, 19_200, 960)
QUARTER = np.random.default_rng(0).integers(4, size=N_OBS)  # cells of a part do not follow each other in the file

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "small_parts")]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """File and checkpoint."""
    folder = tmp_path_factory.mktemp("cells")
    write_cells(folder / "cells.h5ad", N_OBS)
    save_tiny_checkpoint(folder / "tiny")
    return folder


@pytest.fixture
def small_parts(monkeypatch):
    """Of about fifteen cells of a quarter."""
    monkeypatch.setattr(contexts_module, "CELLS_PER_PART", 4)


@pytest.fixture
def submitted(monkeypatch):
    """Functions that workers were given, and what with."""
    found, submit = [], Workers.submit

    def note(self, function, *given, **options):
        found.append((function, given))
        return submit(self, function, *given, **options)

    monkeypatch.setattr(Workers, "submit", note)
    return found


def embed(world, out, cluster=None, *, genes=GENES, **options):
    model = load_checkpoint(world / "tiny")
    counts = open_dataset(world / "cells.h5ad").align(model.genes)
    given = {"precision": "fp32", "device": "cpu", "out": out, "cluster": cluster} | options
    return embed_contexts(counts, model, genes, QUARTER, **given)


def assert_same(one, other):
    for name in ("products", "means", "n_cells"):
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
    assert one.provenance == other.provenance


class Middle:
    """A progress that acts once, when about half of the cells are done."""

    def __init__(self, act=lambda: None):
        self.act, self.seen, self.is_over = act, [], False

    def __call__(self, done, total):
        self.seen.append(done)
        if not self.is_over and 0.5 * total < done < total:
            self.is_over = True
            self.act()


def test_a_worker_that_is_killed_in_the_middle_changes_no_bit(world, tmp_path, submitted):
    (tmp_path / "dask").mkdir()
    with DaskProcesses(tmp_path / "dask") as dask:
        victim = dask.start_worker()

        def kill_and_replace():
            kill(victim)
            dask.start_worker()

        progress = Middle(kill_and_replace)
        found = embed(world, tmp_path / "there", dask.address, progress=progress)
    assert progress.is_over and progress.seen[-1] == N_OBS and progress.seen == sorted(progress.seen)
    assert_same(found, embed(world, tmp_path / "here"))
    assert {path.name for path in (tmp_path / "there").iterdir()} <= {"values.npy", "progress.json", "lock"}
    ranges = {given[-2:] for function, given in submitted if function is compute_window}
    assert sum(last - first for first, last in ranges) == N_OBS and len(ranges) >= N_OBS / 4


def test_what_was_stopped_in_the_middle_of_a_part_goes_on_there_or_here(world, tmp_path, cluster):
    whole = embed(world, None)
    ends = np.cumsum([min(4, n - i) for n in whole.n_cells for i in range(0, n, 4)])
    for first, then in ((cluster.address, cluster.address), (cluster.address, None), (None, cluster.address)):
        out, stopped, again = tmp_path / f"{first}-{then}".replace("/", ""), Middle(), Middle()
        with pytest.raises(Stopped):
            embed(world, out, first, progress=stopped, should_stop=lambda stopped=stopped: stopped.is_over)
        if first is None:
            assert json.loads((out / "progress.json").read_text())["batches_done"] not in ends
        assert_same(embed(world, out, then, progress=again), whole)
        assert again.seen[0] > 0, "what is done was computed again"


def test_a_part_that_is_added_up_twice_has_the_same_bytes(world, tmp_path, cluster, submitted):
    stopped = Middle()
    with pytest.raises(Stopped):
        embed(world, tmp_path / "out", cluster.address, progress=stopped, should_stop=lambda: stopped.is_over)
    job, evaluate, plan, first, last = next(given for function, given in submitted if function is compute_window)
    path, written = job.window(first, last), []
    for _ in range(2):
        path.unlink(missing_ok=True)
        compute_window(job, evaluate, plan, first, last)
        written.append(path.read_bytes())
    assert written[0] == written[1]
    sums = np.load(path)
    assert sums.dtype == np.float64 and sums.shape[:2] == (1, len(GENES))


def test_what_fails_on_a_worker_is_named_and_leaves_the_folder_free(world, tmp_path, cluster):
    for _ in range(2):
        with pytest.raises(JobError, match=r"A worker stopped \(IndexError.*"):
            embed(world, tmp_path / "out", cluster.address, genes=np.array([10**6]))


def test_the_command_writes_the_same_tables(world, tmp_path, cluster, submitted, capsys):
    given = ["modules", str(world / "cells.h5ad"), "--checkpoint", str(world / "tiny"), "--precision", "fp32"]
    given += ["--n-genes", "60", "--most-cells", "40", "--min-counts", "1400", "--no-trees", "--out"]
    assert main([*given, str(tmp_path / "here")]) == 0 and not submitted
    assert main([*given, str(tmp_path / "there"), "--cluster", cluster.address]) == 0 and submitted
    capsys.readouterr()
    for name in ("genes.csv", "links.csv", "modules.csv", "cells.csv"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes(), name
    assert pd.read_csv(tmp_path / "there" / "genes.csv")["spread"].notna().all()
    assert {path.name for path in tmp_path.iterdir()} == {"here", "there"}


def test_a_job_reads_contexts_on_a_cluster_is_stopped_and_goes_on(world, tmp_path, cluster, submitted, monkeypatch):
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    workspace = jobs.Workspace(tmp_path / "work")
    options = {"dataset": str(world / "cells.h5ad"), "checkpoint": str(world / "tiny"), "precision": "fp32"}
    options |= {"n_genes": 60, "most_cells": 60, "trees": False}
    job, seen, report = jobs.submit(workspace, "gene_modules", options), [], worker.Progress.report
    to_stop = [job]

    def report_and_stop(progress, fraction, stage):
        report(progress, fraction, stage)
        if stage == CONTEXTS:
            seen.append(fraction)
            if to_stop and len(set(seen)) == 4:
                jobs.cancel(workspace, to_stop.pop())

    with monkeypatch.context() as patch:
        patch.setattr(worker.Progress, "report", report_and_stop)
        patch.setenv("SCFVIZ_CLUSTER", cluster.address)
        work_off(workspace)
        assert jobs.status(workspace, job).state == "cancelled"
        stopped_at = seen[-1]
        seen.clear()
        jobs.resume(workspace, job)
        work_off(workspace)
        assert jobs.status(workspace, job).state == "done", jobs.status(workspace, job).error
    assert submitted and seen[1] >= stopped_at, "what is done was computed again"
    there = read_result(jobs.result_dir(workspace, job))
    other = jobs.Workspace(tmp_path / "other")
    job = jobs.submit(other, "gene_modules", options)
    work_off(other)
    here = read_result(jobs.result_dir(other, job))
    for name in ("genes", "links", "views"):
        pd.testing.assert_frame_equal(there.tables[name], here.tables[name], check_exact=True)
    assert there.report["provenance"] == here.report["provenance"]
