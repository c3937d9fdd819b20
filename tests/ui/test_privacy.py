"""What visitors see on the pages of what is not theirs: nothing, and why."""

import ast
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from app_pages import check, text_of
from small_cells import make_cells
from streamlit.testing.v1 import AppTest

from scfviz import jobs
from scfviz.analysis.labels.labels import start_annotation
from scfviz.jobs import access, queue, uploads
from scfviz.jobs.labels import list_labels, start_labels
from scfviz.ui.frame import page, routes, sources, state

ROOT = Path(__file__).resolve().parents[2]
ANNA, BERT = "a" * 32, "b" * 32
NOT_SHARED = "only their owner can open"


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(queue, "start_worker", lambda _: None)
    monkeypatch.setattr(page, "start_worker", lambda _: None)
    (tmp_path / "data").mkdir()
    state._uses().clear()
    return jobs.Workspace()


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    cells = make_cells(40)
    cells.obsm["X_umap"] = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    cells.obs["very_private"] = ["patient"] * 40
    path = tmp_path_factory.mktemp("content") / "cells.h5ad"
    cells.write_h5ad(path)
    return path.read_bytes()


def open_page(visitor: str, name: str, **query) -> AppTest:
    app = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=120)
    app.session_state["scfviz.visitor"] = visitor
    for key, value in query.items():
        app.query_params[key] = value
    return check(app.run())


def leaks(app: AppTest) -> bool:
    """Whether a page holds anything of the file, or a way to get at it."""
    parts = [text_of(app), *(str(box.options) for box in app.selectbox), *(str(f.value) for f in app.dataframe)]
    return "very_private" in "\n".join(parts) or bool(app.get("download_button")) or bool(app.get("bidi_component"))


@pytest.mark.parametrize("name", sorted(set(routes.all_routes()) - {"model", "workspace"}))
def test_no_page_opens_an_upload_for_others_until_it_is_shared(name, content):
    """An upload that was never shared opened, and downloaded, for anyone who had its address."""
    ref = uploads.save_upload(BytesIO(content), "cells.h5ad", ANNA)
    app = open_page(BERT, name, dataset=ref)
    assert NOT_SHARED in text_of(app) and "Ask their owner" in text_of(app), text_of(app)
    assert not leaks(app)
    assert not [button for button in app.button if button.key and button.key.startswith("share-")]
    uploads.share_upload(ref, ANNA, True)
    assert NOT_SHARED not in text_of(check(app.run()))
    uploads.share_upload(ref, ANNA, False)
    check(app.run())
    assert NOT_SHARED in text_of(app) and not leaks(app), "open pages close, too"


def test_a_link_to_a_computation_says_that_it_is_not_shared(content, workspace):
    ref = uploads.save_upload(BytesIO(content), "cells.h5ad", ANNA)
    path = str(sources.locate(ref).path)
    job_id = jobs.submit(workspace, "embedding", {"dataset": path}, asked_by=access.owner_of(ANNA))
    for name, query in (("cell_embedding", {"dataset": ref, "job": job_id}), ("home", {"dataset": ref, "job": job_id})):
        app = open_page(BERT, name, **query)
        assert NOT_SHARED in text_of(app)
        assert "Stop" not in [button.label for button in app.button]
    assert jobs.status(workspace, job_id).state == "queued"


def test_a_result_with_somebodys_reference_is_not_shown_on_public_data(content, workspace, tmp_path):
    """The dataset is everyone's, the reference is not: a link to the result, and the list of what was computed."""
    (tmp_path / "data" / "public.h5ad").write_bytes(content)
    ref = uploads.save_upload(BytesIO(content), "very_private.h5ad", ANNA)
    options = {"dataset": str(tmp_path / "data" / "public.h5ad"), "reference": str(sources.locate(ref).path)}
    job_id = jobs.submit(workspace, "mapping", options, asked_by=access.owner_of(ANNA))
    queue.write_status(workspace.jobs / job_id, stage="very_private", state="running")
    app = open_page(BERT, "mapping", dataset="folder:0/public.h5ad", **{state._parameter("mapping"): job_id})
    assert NOT_SHARED in text_of(app) and "very_private" not in text_of(app)
    assert "Stop" not in [button.label for button in app.button]
    app = open_page(BERT, "workspace")
    assert not leaks(app), "neither the name of the file nor what is computed with it"


def test_its_owner_is_told_and_shares_with_one_click(content):
    ref = uploads.save_upload(BytesIO(content), "cells.h5ad", ANNA)
    app = open_page(ANNA, "home", dataset=ref)
    assert "opens for you alone" in text_of(app) and "Share it now?" in text_of(app)
    check(app.button(key="share-sidebar").click().run())
    assert "Shared: everyone on this server" in text_of(app)
    assert [upload.is_shared for upload in uploads.list_uploads(BERT)] == [True]
    assert "not shared" not in text_of(open_page(BERT, "dataset", dataset=ref)).lower()
    public = open_page(ANNA, "home", dataset=sources.FIRST_DEMO)
    assert "Share it now?" not in text_of(public)


def test_labels_of_the_same_content_are_apart(content, workspace):
    import pandas as pd

    refs = {visitor: uploads.save_upload(BytesIO(content), "cells.h5ad", visitor) for visitor in (ANNA, BERT)}
    keys = {visitor: access.content_key(workspace, sources.locate(ref).path) for visitor, ref in refs.items()}
    obs = pd.DataFrame(index=[f"cell{n}" for n in range(40)])
    start_labels(workspace, keys[ANNA], start_annotation("annas words", obs), ())
    assert list(list_labels(workspace, keys[ANNA])) == ["annas words"] and not list_labels(workspace, keys[BERT])


def test_pages_get_at_computations_through_the_module_that_knows_who_looks():
    """Whatever page or panel comes next: it cannot list, stop or start computations past the owner's check."""
    guarded = {"cancel", "remove", "resume", "status", "submit", "list_jobs"}
    allowed = {"job_panel.py": guarded, "workspace.py": {"list_jobs"}}
    for path in (ROOT / "scfviz" / "ui").rglob("*.py"):
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in ("scfviz.jobs", "scfviz.jobs.queue"):
                names |= {alias.name for alias in node.names}
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in ("jobs", "queue")
            ):
                names.add(node.attr)
        assert not (names & guarded) - allowed.get(path.name, set()), path.name
