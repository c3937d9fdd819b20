"""The page of a mapping: empty state, what the reference holds, verdict first, picture, flow, tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from app_pages import check, spec_of, text_of, work_off
from small_cells import make_cells, save_tiny_checkpoint
from streamlit.testing.v1 import AppTest

from scfviz import jobs
from scfviz.jobs import queue
from scfviz.ui.drawing.flow import draw_flow
from scfviz.ui.frame import sources
from scfviz.ui.tasks.mapping import result as mapping_result
from scfviz.ui.tasks.mapping import words as mapping_words
from scfviz.ui.tasks.results import load_result

PAGE = Path(__file__).resolve().parents[2] / "pages" / "mapping.py"
N_QUERY, N_REFERENCE = 40, 120


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A query and a reference that has a map but lacks the monocytes."""
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path))
    cells = make_cells(N_QUERY + 190, depth=3000.0)
    reference = cells[N_QUERY:][cells[N_QUERY:].obs["cell_type"] != "monocyte"][:N_REFERENCE].copy()
    reference.obsm["X_umap"] = np.random.default_rng(0).normal(size=(N_REFERENCE, 2))
    cells[:N_QUERY].copy().write_h5ad(tmp_path / "query.h5ad")
    reference.write_h5ad(tmp_path / "reference.h5ad")


def open_page(**query: str) -> AppTest:
    app = AppTest.from_file(str(PAGE), default_timeout=120)
    app.query_params["dataset"] = "folder:0/query.h5ad"
    for name, value in query.items():
        app.query_params[name] = value
    return check(app.run())


def test_it_says_what_to_do_and_what_a_reference_holds_before_anything_is_mapped(files):
    app = open_page()
    assert "No reference yet" in text_of(app) and "Choose a reference" in text_of(app)
    offered = app.selectbox(key="mapping-reference").options
    assert "reference.h5ad" in offered and "query.h5ad" not in offered and len(offered) >= 3, "the demos serve, too"
    app.selectbox(key="mapping-reference").set_value("folder:0/reference.h5ad")
    check(app.run())
    assert app.selectbox(key="mapping-column-folder:0/reference.h5ad").value == "cell_type"
    assert set(app.dataframe[0].value["Label"]) == {"B cell", "T cell"}
    assert "its own map" in text_of(app) and "400 genes" in text_of(app)
    app.selectbox(key="mapping-column-folder:0/reference.h5ad").set_value("age")
    check(app.run())
    assert "holds numbers" in text_of(app).replace("\\", "")
    app.selectbox(key="mapping-column-folder:0/reference.h5ad").set_value("cell_type")
    check(app.run())
    app.button(key="start-mapping").click()
    check(app.run())
    job = jobs.list_jobs(jobs.Workspace())[0]
    assert job.kind == "mapping" and job.options["column"] == "cell_type"
    assert job.options["reference"] == str(sources.resolve("folder:0/reference.h5ad").path)


def test_a_finished_mapping_shows_verdict_picture_flow_and_tables(files, tmp_path):
    options = {
        "dataset": str(sources.resolve("folder:0/query.h5ad").path),
        "reference": str(sources.resolve("folder:0/reference.h5ad").path),
        "checkpoint": str(save_tiny_checkpoint(tmp_path / "tiny")),
    }
    job_id = jobs.submit(jobs.Workspace(), "mapping", options)
    work_off()
    app = open_page(job_mapping=job_id)
    text = text_of(app).replace("\\", "")
    for words in (
        "How far to trust this mapping",
        "when each was left out",
        "Control:",
        "Your cells have labels",
        "From your clusters to the reference's labels",
        "120 cells of the reference in grey",
    ):
        assert words in text, words
    spec = spec_of(app)
    assert spec["n"] == N_QUERY + N_REFERENCE and "reference" in spec["colors"]["names"]
    app.selectbox(key="mapping-color").set_value("mapped_distance")
    check(app.run())
    assert spec_of(app)["colors"]["n_unknown"] == N_REFERENCE
    app.selectbox(key="mapping-color").set_value("mapped_label")
    check(app.run())
    assert "no counterpart" in spec_of(app)["colors"]["names"]
    result = load_result(job_id)
    new = (result.cells["mapped_label"] == "no counterpart").to_numpy()
    truth = make_cells(N_QUERY + 190, depth=3000.0).obs["cell_type"].to_numpy()[:N_QUERY]
    assert new[truth == "monocyte"].mean() > 0.8
    assert mapping_result._picture(job_id) is mapping_result._picture(job_id)


def test_batches_of_one_dataset_are_integrated_on_the_same_page(files, tmp_path):
    cells = make_cells(60)
    cells.obs["batch"] = np.where(np.arange(60) < 30, "v2", "v3")
    cells.write_h5ad(tmp_path / "query.h5ad")
    app = open_page()
    app.segmented_control(key="mapping-what").set_value("batch")
    check(app.run())
    assert "No batches yet" in text_of(app)
    app.selectbox(key="mapping-batch").set_value("batch")
    check(app.run())
    assert list(app.dataframe[0].value["Cells"]) == [30, 30] and app.button(key="start-integration")
    path, checkpoint = sources.resolve("folder:0/query.h5ad").path, save_tiny_checkpoint(tmp_path / "tiny")
    options = {"dataset": str(path), "batch": "batch", "checkpoint": str(checkpoint)}
    job_id = jobs.submit(jobs.Workspace(), "mapping", options)
    work_off()
    app = open_page(job_mapping=job_id)
    assert "Within shared types the batches' mixing" in text_of(app) and spec_of(app)["n"] == 60


def test_a_flow_keeps_every_cell_and_escapes_names():
    table = pd.DataFrame({"cluster": ["0", "0", "<b>"], "label": ["a", "no counterpart", "a"], "n_cells": [3, 1, 2]})
    left, right = {"0": "#112233", "<b>": "#445566"}, {"a": "#5f7d95", "no counterpart": "#b3261e"}
    figure = draw_flow(table, left, right, titles=("Your clusters", "Reference"))
    sankey = figure.data[0]
    assert sum(sankey.link.value) == 6 and list(sankey.link.target) == [2, 3, 2]
    assert "&lt;b&gt;" in sankey.node.label


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ({"n_labels_left_out": 10, "n_labels_noticed": 8, "noticed_from": 40}, "40 cells or more"),
        ({"n_labels_left_out": 10, "n_labels_noticed": 3}, "would not be noticed"),
        ({}, "not known"),
    ],
)
def test_the_sentence_of_power_says_what_was_measured(scores, words):
    assert words in mapping_words.sentence_of_power(scores, 0.05)


def test_the_sentences_about_model_and_control_follow_the_numbers():
    assert "adds to" in mapping_words.sentence_of_model(
        {"model_gain": 0.1, "model_gain_low": 0.05, "model_gain_high": 0.2}
    )
    assert "not clear" in mapping_words.sentence_of_model(
        {"model_gain": 0.1, "model_gain_low": -0.1, "model_gain_high": 0.2}
    )
    assert "not help" in mapping_words.sentence_of_model(
        {"model_gain": -0.1, "model_gain_low": -0.2, "model_gain_high": -0.01}
    )
    assert "should" in mapping_words.sentence_of_control({"control_no_counterpart": 0.95})
    assert "too few" in mapping_words.sentence_of_control({"control_no_counterpart": 0.4})
