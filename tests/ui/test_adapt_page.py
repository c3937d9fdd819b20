"""The page of adapting: asks, says what came of it, and lets the result be used."""

from pathlib import Path

import pytest
from app_pages import check, text_of, work_off
from small_cells import make_cells, save_tiny_checkpoint
from streamlit.testing.v1 import AppTest

from scfviz import jobs
from scfviz.jobs import queue
from scfviz.jobs.kinds import adapt as kind
from scfviz.training import adapt
from scfviz.ui.frame import models

PAGES = Path(__file__).resolve().parents[2] / "pages"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path))
    monkeypatch.setenv("SCFVIZ_CHECKPOINT", str(save_tiny_checkpoint(tmp_path / "tiny")))
    monkeypatch.setattr(kind, "BATCH", 4)
    judged = adapt.judge_adapted
    monkeypatch.setattr(adapt, "judge_adapted", lambda *given, **more: judged(*given, **more, n_cells=4))
    cells = make_cells(60)
    cells.obs["donor"] = ["a <b>", "b", "c"] * 20
    cells.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path


def open_page() -> AppTest:
    app = AppTest.from_file(str(PAGES / "adapt.py"), default_timeout=120)
    app.query_params["dataset"] = "folder:0/cells.h5ad"
    return check(app.run())


def test_from_the_form_to_the_model_in_use(world):
    app = open_page()
    assert "cell_type" in app.selectbox(key="adapt-held-out").options
    assert app.selectbox(key="adapt-label").value == "cell_type"
    app.selectbox(key="adapt-held-out").select("donor")
    app.number_input(key="adapt-steps").set_value(10)
    app = check(app.button(key="start-adapt").click().run())
    (job,) = jobs.list_jobs(jobs.Workspace())
    assert job.state == "queued" and job.options["hold_out_by"] == "donor" and job.options["rank"] == 8
    assert app.button(key="finish-adapt").label == "Finish now" and app.button(key="stop-job").label == "Stop"
    work_off()
    app = check(open_page().run())
    text = text_of(app)
    assert "discard it" in text and "held out" in text and "donor" in text
    assert "Does it tell your cell types apart?" in text and "variable genes + PCA" in text
    table = app.dataframe[0].value
    assert table["Cells"].tolist()[0].startswith("Held-out") and (table["Error before"] > 0).all()
    assert app.button(key="use-adapted").label == "Use it all the same"

    ref = f"{models.ADAPTED}{job.id}"
    assert models.references() == [models.DEFAULT, ref]
    model = AppTest.from_file(str(PAGES / "model.py"), default_timeout=120)
    model.session_state["scfviz.model"] = ref
    model = check(model.run())
    assert "tiny, adapted to cells" in text_of(model)
    again = check(app.button(key="again-adapt").click().run())
    assert again.button(key="start-adapt")
