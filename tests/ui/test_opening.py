"""A large file is checked by a computation, not by the page: with progress and Stop, and once for everybody."""

from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from app_pages import check, text_of, work_off
from datasets import make_adata
from streamlit.testing.v1 import AppTest

from scfviz import jobs
from scfviz.data import open as opening_data
from scfviz.jobs import Workspace
from scfviz.jobs.worker import Worker
from scfviz.ui.frame import opening, routes

PAGES = Path(__file__).resolve().parents[2] / "pages"


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    """A file that counts as large; no worker process starts."""
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("SCFVIZ_DEMO", raising=False)
    monkeypatch.setattr("scfviz.jobs.queue.start_worker", lambda workspace: None)
    monkeypatch.setattr(opening, "LARGE_BYTES", 1_000)
    path = tmp_path / "data" / "cells.h5ad"
    path.parent.mkdir()
    make_adata(60).write_h5ad(path)
    return path


def open_page(name: str) -> AppTest:
    app = AppTest.from_file(str(PAGES / f"{name}.py"), default_timeout=120)
    app.query_params["dataset"] = "folder:0/cells.h5ad"
    return check(app.run())


def asked() -> list[jobs.JobStatus]:
    return [job for job in jobs.list_jobs(Workspace()) if job.kind == "check"]


@pytest.mark.parametrize("name", [n for n, route in routes.all_routes().items() if n not in ("model", "workspace")])
def test_a_page_shows_the_check_and_then_reads_nothing_again(name, monkeypatch):
    app = open_page(name)
    if not asked():  # these begin with what ships
        assert name in ("perturbation", "drug_response")
        return
    assert "Reading and checking cells.h5ad" in text_of(app) and len(asked()) == 1
    work_off()
    monkeypatch.setattr(opening_data, "check_and_match", lambda *a, **k: pytest.fail("the values were read again"))
    app.run()
    assert "Reading and checking" not in text_of(check(app)) and len(asked()) == 1
    assert "Reading and checking" not in text_of(open_page("dataset")), "another visitor"


def test_a_stopped_check_leaves_nothing_and_can_be_taken_up(file):
    app = open_page("dataset")
    next(button for button in app.button if button.label == "Stop").click().run()
    assert "was stopped" in text_of(check(app.run())) and not list(Workspace().checks.glob("*"))
    next(button for button in app.button if button.label == "Resume").click().run()
    work_off()
    assert "What the check found" in text_of(check(app.run()))


def test_what_is_wrong_with_the_file_is_said_as_on_any_page_and_a_mended_file_is_checked_again(file):
    broken = make_adata(60)
    broken.X = broken.X.astype(np.float32)
    broken.X.data[-1] = np.nan
    broken.write_h5ad(file)
    app = open_page("dataset")
    work_off()
    text = text_of(check(app.run()))
    assert "missing or infinite" in text and "This dataset cannot be used as it is" in text
    make_adata(60).write_h5ad(file)
    app.run()
    work_off()
    assert "What the check found" in text_of(check(app.run()))


def test_a_file_whose_genes_must_be_chosen_still_asks(file):
    adata = ad.AnnData(make_adata(60).X)
    adata.var_names = [f"row {i}" for i in range(adata.n_vars)]
    adata.write_h5ad(file)
    app = open_page("dataset")
    work_off()
    check(app.run())
    assert any(box.label == "Names of the genes" for box in app.selectbox)


def test_a_check_that_is_told_to_stop_ends_between_blocks(file, monkeypatch):
    job_id = jobs.submit(Workspace(), "check", {"dataset": str(file)})
    kind = jobs.kinds.get_kind("check")
    run = kind.run
    monkeypatch.setattr(kind, "run", lambda folder, options, report, stop: run(folder, options, report, lambda: True))
    Worker(Workspace(), "quick", 0)._run(Workspace().jobs / job_id)
    assert jobs.status(Workspace(), job_id).state == "cancelled" and not list(Workspace().checks.glob("*"))
