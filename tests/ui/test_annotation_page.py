"""The page of the annotation: asking in three ways, the verdict, and clusters that become user-defined labels."""

import anndata as ad
import pytest
from app_pages import check, text_of, work_off
from small_cells import GROUPS, make_cells, save_tiny_checkpoint
from streamlit.testing.v1 import AppTest

from scfviz import jobs
from scfviz.jobs import access, queue
from scfviz.jobs.labels import list_labels
from scfviz.tasks.annotation import fit
from scfviz.ui.frame import sources
from scfviz.ui.tasks.annotation import result as annotation_result
from scfviz.ui.tasks.results import load_result


@pytest.fixture(autouse=True)
def world(tmp_path, monkeypatch):
    """A dataset without types, and one with them."""
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path))
    monkeypatch.setenv("SCFVIZ_CHECKPOINT", str(save_tiny_checkpoint(tmp_path / "model")))
    monkeypatch.setattr(fit, "CURVE", (10,))
    monkeypatch.setattr(fit, "CURVE_REPEATS", 1)
    cells = make_cells(150)
    cells[50:].write_h5ad(tmp_path / "reference.h5ad")
    query = cells[:50].copy()
    query.obs = query.obs.rename(columns={"cell_type": "truth_type"})
    query.obsm["X_umap"] = query.X[:, :2].toarray()
    query.write_h5ad(tmp_path / "query.h5ad")


def own_page() -> None:
    from scfviz.tasks.registry import TASKS
    from scfviz.ui.tasks import page

    page.show(TASKS["annotation"])


def open_page(**query: str) -> AppTest:
    app = AppTest.from_function(own_page, default_timeout=120)
    app.query_params["dataset"] = "folder:0/query.h5ad"
    for name, value in query.items():
        app.query_params[name] = value
    return check(app.run())


def test_it_asks_annotates_and_clusters_become_labels(tmp_path):
    app = open_page()
    assert "9 types" in text_of(app) and "natural killer cell" in text_of(app), "the classifier that ships"
    check(app.radio(key="annotation-kind").set_value("Labels of some of these cells").run())
    assert app.selectbox(key="annotation-own").options == ["Column 'truth_type' of the file"]
    check(app.radio(key="annotation-kind").set_value("A labelled dataset").run())
    assert "No reference yet" in text_of(app)
    check(app.selectbox(key="annotation-reference").set_value("folder:0/reference.h5ad").run())
    assert "100 labelled cells of 3 types" in text_of(app).replace("\\", "")
    check(app.button(key="start-annotation").click().run())
    job = jobs.list_jobs(jobs.Workspace())[0]
    assert job.kind == "annotation" and job.options["label"] == "cell_type"
    work_off()
    app = open_page(job_annotation=job.id)
    text = text_of(app).replace("\\", "")
    assert (
        "The labels come from logistic regression on genes" in text
        and "of one batch" in text
        and "90% asked for" in text
        and "If only the most certain cells get a label" in text
    )
    assert app.session_state["x_label"] == "annotated_type"
    check(app.slider(key="annotation-errors").set_value(0).run())
    check(app.button(key="annotation-color-annotated_confidence").click().run())
    assert app.session_state["x_value"] == "annotated_confidence"

    source, workspace, result = sources.resolve("folder:0/query.h5ad"), jobs.Workspace(), load_result(job.id)
    key = access.content_key(workspace, source.path)
    check(app.button(key="annotation-accept").click().run())
    labels = list_labels(workspace, key)[annotation_result.COLUMN]
    majority = result.tables["clusters"].set_index("cluster")["majority"]
    expected = result.cells["annotated_cluster"].astype(str).map(majority)
    given = labels.column(ad.read_h5ad(tmp_path / "query.h5ad").obs.index)
    named = expected != "unknown"
    assert named.any() and (given[named.to_numpy()].astype(str).to_numpy() == expected[named].to_numpy()).all()
    assert labels.changes[-1].action == "Accept annotation" and set(labels.counts()) <= set(GROUPS)
    check(app.button(key="annotation-undo").click().run())
    assert not list_labels(workspace, key)[annotation_result.COLUMN].counts()


def select_page() -> None:
    import streamlit as st

    from scfviz.jobs import Workspace, access
    from scfviz.ui.explorer.selection import selections
    from scfviz.ui.frame import sources
    from scfviz.ui.tasks.annotation import confusion

    (kind, found), source = st.session_state["pair"], sources.resolve("folder:0/query.h5ad")
    st.markdown(f"selected {confusion.select_cells(source, 'truth_type', kind, found)}")
    st.markdown(selections.load(access.content_key(Workspace(), source.path)).current.describe())


def test_a_number_of_the_confusion_matrix_selects_its_cells():
    reference = str(sources.resolve("folder:0/reference.h5ad").path)
    source, workspace = sources.resolve("folder:0/query.h5ad"), jobs.Workspace()
    job_id = jobs.submit(workspace, "annotation", {"dataset": str(source.path), "reference": reference})
    work_off()
    cells = load_result(job_id).cells
    truth = ad.read_h5ad(source.path).obs["truth_type"].astype(str).to_numpy()
    kind = truth[0]
    expected = (truth == kind) & (cells["annotated_type"].astype(str) == kind).to_numpy()
    app = AppTest.from_function(select_page, default_timeout=120)
    app.session_state["pair"] = (kind, kind)
    assert f"selected {int(expected.sum())}" in text_of(check(app.run())) and expected.any()
    assert text_of(app).count(kind) == 2, "by both columns"


def test_accepting_nothing_is_refused_and_edited_labels_merge():
    reference = str(sources.resolve("folder:0/reference.h5ad").path)
    source, workspace = sources.resolve("folder:0/query.h5ad"), jobs.Workspace()
    job_id = jobs.submit(workspace, "annotation", {"dataset": str(source.path), "reference": reference})
    work_off()
    result, key = load_result(job_id), access.content_key(workspace, source.path)
    table = result.tables["clusters"].assign(accept=False, label="mine")
    with pytest.raises(annotation_result.OptionError, match="No cluster is accepted"):
        annotation_result.save_labels(workspace, key, source, "x", result, table)
    least = result.cells["annotated_confidence"].to_numpy() >= 0.5
    annotation_result.save_labels(workspace, key, source, "x", result, table.assign(accept=True), least)
    assert list_labels(workspace, key)["x"].counts() == {"mine": int(least.sum())}


def test_a_demo_is_annotated_by_itself_and_an_own_classifier_can_be_chosen(tmp_path, monkeypatch):
    """The demo had a form before its answer; a folder of `annotate fit` could be used by the command alone."""
    import shutil

    from scfviz.tasks.annotation.classifier import CLASSIFIERS
    from scfviz.ui.tasks.annotation import screen as annotation

    shutil.copytree(CLASSIFIERS.assets / "blood", tmp_path / "mine")
    (tmp_path / "mine" / "README.md").write_text("# mine <b>x</b> ![p](http://a.b/c)")
    assert list(annotation.list_classifiers()) == ["blood", "mine (data folder)"]
    app = open_page()
    check(app.selectbox(key="annotation-classifier").set_value("mine (data folder)").run())
    assert "![p](" not in text_of(app) and "it reads genes" in text_of(app)
    demo = sources.resolve("folder:0/query.h5ad")
    monkeypatch.setattr(sources, "resolve", lambda ref: sources.Source("demo:small", demo.path, "small", "demo"))
    app = AppTest.from_function(own_page, default_timeout=120)
    app.query_params["dataset"] = "demo:small"
    check(app.run())
    (job,) = jobs.list_jobs(jobs.Workspace())
    assert job.kind == "annotation" and job.options["reference"] is None
