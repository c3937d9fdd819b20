"""A job of the app whose cells are embedded by a cluster: the same progress, Stop, resuming and result."""

import numpy as np
import pytest
from app_pages import work_off
from dask_processes import DaskProcesses
from small_cells import save_tiny_checkpoint, write_cells

from scfviz import jobs
from scfviz.data.open import open_dataset
from scfviz.jobs import queue, worker
from scfviz.model.checkpoint import load_checkpoint
from scfviz.model.cluster import run as cluster_run
from scfviz.model.cluster import workers
from scfviz.model.infer import embed_cells
from scfviz.tasks.embedding.run import EMBEDDING
from scfviz.tasks.result import read_result

N_OBS = 60


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_job_on_a_cluster_is_stopped_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    monkeypatch.setattr(cluster_run, "FLOP_PER_WINDOW", {"cpu": 1.7e7})
    data, model = write_cells(tmp_path / "cells.h5ad", N_OBS), save_tiny_checkpoint(tmp_path / "model")
    workspace = jobs.Workspace(tmp_path / "work")
    options = {"dataset": str(data), "checkpoint": str(model), "precision": "fp32", "filters": {"min_counts": 1400}}
    job, seen, report = jobs.submit(workspace, "embedding", options), [], worker.Progress.report
    to_stop = [job]

    def report_and_stop(progress, fraction, stage):
        report(progress, fraction, stage)
        if stage == EMBEDDING:
            seen.append(fraction)
            if to_stop and len(set(seen)) == 3:
                jobs.cancel(workspace, to_stop.pop())

    monkeypatch.setattr(worker.Progress, "report", report_and_stop)
    (tmp_path / "dask").mkdir()
    with DaskProcesses(tmp_path / "dask") as processes:
        processes.start_worker()
        monkeypatch.setenv("SCFVIZ_CLUSTER", processes.address)
        work_off(workspace)
        assert jobs.status(workspace, job).state == "cancelled" and seen == sorted(seen)
        stopped_at = seen[-1]
        seen.clear()
        jobs.resume(workspace, job)
        work_off(workspace)
        assert jobs.status(workspace, job).state == "done", jobs.status(workspace, job).error
        assert seen[1] >= stopped_at, "what is done was computed again"
        monkeypatch.setenv("SCFVIZ_CLUSTER", "tcp://127.0.0.1:1")
        monkeypatch.setattr(workers, "SECONDS_TO_CONNECT", 1.0)
        failed = jobs.submit(workspace, "embedding", options | {"pooling": "max"})
        work_off(workspace)
        assert "does not answer" in jobs.status(workspace, failed).error["found"]
    result, trained = read_result(jobs.result_dir(workspace, job)), load_checkpoint(model)
    assert 0 < len(result.kept) < N_OBS
    cells = open_dataset(data).align(trained.genes).subset(result.kept)
    np.testing.assert_array_equal(result.arrays["embedding"], embed_cells(cells, trained, precision="fp32").values)
