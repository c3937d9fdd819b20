"""The job `embedding` in real worker processes: whole results, kill and resume, errors in words."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from scipy import sparse
from small_cells import GROUPS, make_cells, save_tiny_checkpoint, write_cells

from scfviz import jobs
from scfviz.analysis.selection.rules import Categories, to_json
from scfviz.errors import CheckpointError, DatasetError, JobError, OptionError
from scfviz.jobs import kinds, queue
from scfviz.jobs.kinds import get_kind, need_of
from scfviz.jobs.worker import Worker
from scfviz.jobs.workspace import read_json
from scfviz.tasks.embedding.run import EMBEDDING
from scfviz.tasks.result import read_graph, read_result

ROOT = Path(__file__).resolve().parents[2]
HELPERS = ROOT / "tests" / "helpers"
N_OBS = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def checkpoint(folder):
    """Slow enough to be killed in the middle."""
    return save_tiny_checkpoint(folder / "checkpoint", preset="3M")


@pytest.fixture(scope="module")
def options(folder, checkpoint):
    cells = make_cells(N_OBS)
    cells.obs["mixed"] = [1, "two", None] * (N_OBS // 3)
    cells.obs["mixed"] = cells.obs["mixed"].astype(str)
    cells.obs.loc[cells.obs_names[:40], "cell_type"] = np.nan
    cells.write_h5ad(folder / "cells.h5ad")
    return {"dataset": str(folder / "cells.h5ad"), "checkpoint": str(checkpoint), "precision": "fp32"}


@pytest.fixture(scope="module")
def workspaces(folder):
    """Makes workspaces; their workers end with the module."""
    made = []

    def make(name):
        made.append(jobs.Workspace(folder / name))
        return made[-1]

    yield make
    for workspace in made:
        for path in workspace.jobs.glob("*/status.json"):
            end_worker(read_json(path)["pid"])


@pytest.fixture(scope="module")
def done(workspaces, options):
    """A workspace with one finished job, and its id."""
    workspace = workspaces("whole")
    job_id = jobs.submit(workspace, "embedding", options)
    assert wait_for(workspace, job_id, "done", "failed").error is None
    return workspace, job_id


def end_worker(pid):
    """The number may belong to another process by now: only a worker is ended."""
    try:
        process = psutil.Process(pid)
        if "scfviz.jobs.worker" in process.cmdline():
            process.kill()
    except (psutil.NoSuchProcess, ValueError, TypeError):
        return


def wait_for(workspace, job_id, *states, seconds=240.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        now = jobs.status(workspace, job_id)
        if now.state in states:
            return now
        time.sleep(0.05)
    raise AssertionError(f"still {now} after {seconds} s")


def files_of(result):
    files = [path for path in result.rglob("*") if path.is_file() and path.name != "report.json"]
    return {path.relative_to(result).as_posix(): path.read_bytes() for path in files}


def test_result_is_whole_and_says_how_it_was_made(done, options):
    workspace, job_id = done
    result = read_result(jobs.result_dir(workspace, job_id))
    embedding, baseline = result.arrays["embedding"], result.arrays["baseline"]
    assert embedding.shape == (N_OBS, 512) and embedding.dtype == np.float32 and np.isfinite(embedding).all()
    assert baseline.shape == (N_OBS, 50)
    joint = result.arrays["joint"]
    assert joint.shape == (N_OBS, 70) and np.array_equal(joint[:, :50], baseline)
    for way in ("model", "baseline", "joint"):
        umap = result.arrays[f"umap_{way}"]
        assert umap.shape == (N_OBS, 2) and np.isfinite(umap).all()
        assert read_graph(result.tables[f"neighbors_{way}"], N_OBS).nnz > N_OBS
    cells, obs = result.cells, result.tables["obs"]
    expected = make_cells(N_OBS)
    assert list(cells.index) == list(obs.index) == list(expected.obs_names)
    clusters = {"clusters_model", "clusters_baseline", "clusters_joint"}
    assert set(cells) == {"total_counts", "n_genes", "pct_counts_mt"} | clusters
    np.testing.assert_array_equal(cells["total_counts"], np.asarray(expected.X.sum(axis=1)).ravel())
    assert list(obs) == ["cell_type", "sample", "age", "mixed"] and obs["cell_type"].isna().sum() == 40
    report, agreement = result.report, result.scores["agreement"]
    scores = agreement["cell_type"]
    assert set(agreement) == {"cell_type", "mixed"} and result.scores["skipped_labels"].keys() == {"sample"}
    assert scores["baseline"]["ari"] > 0.8, "three clear groups"
    assert scores["model"]["n"] == N_OBS - 40 and scores["model"]["n_unlabelled"] == 40
    assert scores["model"]["n_labels"] == len(GROUPS)
    assert report["checkpoint"]["is_trained"] is False and report["n_removed"] == 0
    assert report["genes"]["n_measured"] == 400 and report["counts"]["kind"] == "counts"
    assert not (workspace.jobs / job_id / "work").exists()


def test_embedding_of_the_job_is_that_of_the_function(done, options):
    import scfviz

    model = scfviz.load_checkpoint(options["checkpoint"])
    few = scfviz.align_genes(scfviz.read_dataset(options["dataset"]), genes=model.genes).subset(np.arange(5))
    expected = scfviz.embed_cells(few, model, precision="fp32").values
    got = read_result(jobs.result_dir(*done)).arrays["embedding"][:5]
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_same_content_under_another_name_is_the_same_job(done, options, tmp_path):
    workspace, job_id = done
    end = jobs.status(workspace, job_id).finished_at
    shutil.copy(options["dataset"], tmp_path / "other.h5ad")
    assert jobs.submit(workspace, "embedding", options | {"dataset": str(tmp_path / "other.h5ad")}) == job_id
    assert jobs.submit(workspace, "embedding", options | {"pooling": "all", "filters": {"min_counts": None}}) == job_id
    assert jobs.status(workspace, job_id).finished_at == end
    changes = ({}, {"target_depth": 1e4}, {"filters": {"min_genes": 10}})
    identities = [get_kind("embedding").prepare(options | change, workspace)[1] for change in changes]
    assert identities[0] != identities[1] != identities[2] != identities[0]


def test_killed_job_resumes_to_the_same_bits_and_outlives_who_asked_for_it(done, workspaces, options):
    workspace = workspaces("killed")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    eager = subprocess.Popen(
        [sys.executable, HELPERS / "eager_worker.py", workspace.root, "long", "60"], env=environment
    )
    while not queue.worker_is_alive(workspace, "long"):
        time.sleep(0.02)
    job_id = jobs.submit(workspace, "embedding", options)
    assert job_id == done[1]
    progress = workspace.jobs / job_id / "work" / "embedding" / "progress.json"
    while (read_json(progress) or {"batches_done": 0})["batches_done"] == 0:
        assert (now := jobs.status(workspace, job_id)).is_active, now
        time.sleep(0.01)
    eager.kill()
    eager.wait()
    now = jobs.status(workspace, job_id)
    assert now.state == "interrupted" and 0 < now.fraction < 1 and now.stage == EMBEDDING
    with pytest.raises(JobError, match="interrupted"):
        jobs.result_dir(workspace, job_id)
    kept = read_json(progress)["batches_done"]
    assert kept > 0
    # a new server takes it up and is gone at once; the worker goes on without it
    code = "import sys; from scfviz import jobs; jobs.resume(jobs.Workspace(sys.argv[1]), sys.argv[2])"
    subprocess.run([sys.executable, "-c", code, workspace.root, job_id], env=environment, check=True)
    while jobs.status(workspace, job_id).is_active:
        state = read_json(progress)  # gone with the rest of the work at the end
        assert state is None or state["batches_done"] >= kept, "it went on, it did not start over"
        time.sleep(0.02)
    assert jobs.status(workspace, job_id).error is None
    assert files_of(jobs.result_dir(workspace, job_id)) == files_of(jobs.result_dir(*done))


def test_cancelled_job_keeps_its_work_and_filters_apply(done, options):
    workspace, _ = done
    filtered = options | {"filters": {"min_counts": 1500}, "label_columns": ["cell_type"]}
    job_id = jobs.submit(workspace, "embedding", filtered)
    while jobs.status(workspace, job_id).stage != EMBEDDING:
        assert jobs.status(workspace, job_id).is_active
        time.sleep(0.02)
    jobs.cancel(workspace, job_id)
    assert wait_for(workspace, job_id, "cancelled", seconds=30).error is None
    assert (workspace.jobs / job_id / "work" / "embedding").is_dir()
    assert not (workspace.jobs / job_id / "result").exists()
    jobs.resume(workspace, job_id)
    assert wait_for(workspace, job_id, "done", "failed").error is None
    result = jobs.result_dir(workspace, job_id)
    report, kept = json.loads((result / "report.json").read_text()), np.load(result / "kept.npy")
    cells = pd.read_parquet(result / "cells.parquet")
    assert (cells["total_counts"] >= 1500).all() and len(cells) == len(kept) == report["n_obs"] == N_OBS - report[
        "n_removed"
    ]
    assert list(cells.index) == [f"cell{i}" for i in kept]
    assert set(report["scores"]["agreement"]) == {"cell_type"}


def test_input_that_cannot_be_used_fails_in_words(done, options, tmp_path):
    workspace, _ = done
    broken = tmp_path / "broken.h5ad"
    broken.write_bytes(Path(options["dataset"]).read_bytes()[:5000])
    wrong = {
        "broken": options | {"dataset": str(broken)},
        "remove all": options | {"filters": {"min_counts": 1e9}},
        "no column": options | {"label_columns": ["absent"]},
    }
    few = make_cells(3)
    few.X = sparse.csr_matrix(few.X.multiply(np.array([[1], [0], [1]])))
    few.write_h5ad(tmp_path / "few.h5ad")
    wrong["cell1"] = options | {"dataset": str(tmp_path / "few.h5ad")}
    ids = {words: jobs.submit(workspace, "embedding", request) for words, request in wrong.items()}
    for words, job_id in ids.items():
        error = wait_for(workspace, job_id, "failed").error
        assert words in " ".join(error.values()), error
        assert error["found"] and error["kind"] in ("DatasetError", "OptionError")
        assert "Traceback" not in (workspace.jobs / job_id / "worker.log").read_text()


def test_few_cells_work(done, options, tmp_path):
    workspace, _ = done
    ids = {
        n: jobs.submit(workspace, "embedding", options | {"dataset": str(write_cells(tmp_path / f"{n}.h5ad", n))})
        for n in (1, 2, 5)
    }
    for n, job_id in ids.items():
        assert wait_for(workspace, job_id, "done", "failed").error is None
        result = jobs.result_dir(workspace, job_id)
        assert np.load(result / "arrays" / "embedding.npy").shape == (n, 512)
        assert np.isfinite(np.load(result / "arrays" / "umap_model.npy")).all() == (n >= 3)
        report = json.loads((result / "report.json").read_text())
        assert any(note.startswith("All maps: ") for note in report["notes"])


@pytest.mark.parametrize("kind", ["check", "gene_store", "export", "subset"])
def test_a_dataset_that_changed_while_a_job_ran_gives_no_result(workspaces, kind, tmp_path, monkeypatch):
    """Whatever the job: its result would be kept under the content that was asked for."""
    workspace = workspaces(f"changed {kind}")
    dataset = write_cells(tmp_path / "cells.h5ad", 20)
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(workspace.root))
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    rule = {"rule": to_json(Categories("cell_type", (GROUPS[0],)))} if kind == "subset" else {}
    job_id = jobs.submit(workspace, kind, {"dataset": str(dataset)} | rule)
    run = kinds.get_kind(kind).run

    def run_and_change(*args):
        run(*args)
        write_cells(dataset, 20, seed=1)

    monkeypatch.setattr(kinds.get_kind(kind), "run", run_and_change)
    Worker(workspace, "quick")._run(workspace.jobs / job_id)
    now = jobs.status(workspace, job_id)
    assert now.state == "failed" and "has changed since" in now.error["found"]
    assert not (workspace.jobs / job_id / "result").exists()


@pytest.mark.parametrize("what", ["dataset", "checkpoint"])
def test_what_changed_after_the_request_is_refused(workspaces, options, what, tmp_path, monkeypatch):
    workspace = workspaces(f"changed {what}")
    own = {"dataset": write_cells(tmp_path / "cells.h5ad", 20), "checkpoint": save_tiny_checkpoint(tmp_path / "tiny")}
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    job_id = jobs.submit(workspace, "embedding", options | {name: str(path) for name, path in own.items()})
    if what == "dataset":
        write_cells(own["dataset"], 21)
    else:
        (own["checkpoint"] / "genes.tsv").unlink()
    Worker(workspace, "long")._run(workspace.jobs / job_id)
    assert f"The {what} " in jobs.status(workspace, job_id).error["found"]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"dataset": None}, OptionError, "No dataset"),
        ({"dataset": "/absent.h5ad"}, DatasetError, "no file"),
        ({"checkpoint": "/absent"}, CheckpointError, "no checkpoint"),
        ({"target_depth": 1e4, "depth_fold": 5}, OptionError, "Both"),
        ({"filters": {"max_counts": 5}}, OptionError, "no filter max_counts"),
        ({"target_dept": 5}, OptionError, "no option target_dept"),
    ],
)
def test_request_that_makes_no_sense_is_refused_at_once(workspaces, options, change, error, words):
    workspace = workspaces("refused")
    with pytest.raises(error, match=words):
        jobs.submit(workspace, "embedding", options | change)
    assert jobs.list_jobs(workspace) == []


@pytest.mark.parametrize("kind", ["embedding", "check", "gene_store", "differential_expression"])
def test_what_cannot_fit_into_memory_is_refused_with_a_number_of_cells_that_fits(options, monkeypatch, kind):
    from scfviz.data import memory as free
    from scfviz.jobs import memory

    memory.refuse_what_cannot_fit(need_of(kind, options), 20)
    monkeypatch.setattr(free, "free_memory", lambda: 2_000_000_000)
    with pytest.raises(JobError, match="GB of memory.*at most [0-9,]+ cells") as caught:
        memory.refuse_what_cannot_fit(need_of(kind, options), 10_000_000)
    fitting = int(re.search(r"at most ([0-9,]+) cells", str(caught.value)).group(1).replace(",", ""))
    memory.refuse_what_cannot_fit(need_of(kind, options), fitting)
    monkeypatch.setattr(free, "free_memory", lambda: 100_000_000)
    with pytest.raises(JobError, match="Close other programs"):
        memory.refuse_what_cannot_fit(need_of(kind, options), 10_000)
    assert memory.estimate(need_of("import_checkpoint", {}), 10) is None
