"""Every page in Streamlit's own test frame: alone and through the router, empty, with a result, with broken files."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from app_pages import compute, spec_of
from datasets import make_adata
from small_cells import save_tiny_checkpoint
from streamlit.testing.v1 import AppTest

from scfviz import jobs
from scfviz.ui.frame import routes

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["home", "dataset", "cell_embedding", "explorer", "model", "workspace"]
NASTY = "<b>B</b> *x* `y` $z$ [a](http://b) :red[c] --"
NASTY_FILE = "<i>own<i> _cells_ & more.h5ad"


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    """A workspace, a data folder and a small default model for each test; no worker process starts."""
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("SCFVIZ_DEMO", raising=False)
    (tmp_path / "data").mkdir()
    monkeypatch.setattr("scfviz.jobs.queue.start_worker", lambda workspace: None)
    save_tiny_checkpoint(tmp_path / "workspace" / "checkpoints" / "test" / "tiny")
    return jobs.Workspace()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A dataset with hostile names, and its finished embedding, computed once by a real worker."""
    folder = tmp_path_factory.mktemp("finished")
    adata = make_adata(90)
    adata.obs["cell_type"] = np.where(np.arange(90) % 3 == 0, NASTY, "T cell")
    adata.obs["cell_type"] = adata.obs["cell_type"].astype("category")
    adata.uns["cell_type_colors"] = ["#112233", "#445566"]
    adata.obs_names = [f"<u>cell {i}</u>" for i in range(90)]
    adata.write_h5ad(folder / NASTY_FILE)
    checkpoint = save_tiny_checkpoint(folder / "workspace" / "checkpoints" / "test" / "tiny")
    options = {"dataset": str(folder / NASTY_FILE), "checkpoint": str(checkpoint)}
    return folder, compute(jobs.Workspace(folder / "workspace"), "embedding", options)


@pytest.fixture
def with_result(finished, monkeypatch):
    folder, job_id = finished
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(folder / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(folder))
    return job_id


def open_page(name: str, session: dict | None = None, /, **query: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=120)
    for key, value in (session or {}).items():
        app.session_state[key] = value
    for key, value in query.items():
        app.query_params[key] = value
    return app.run()


def text_of(app: AppTest) -> str:
    kinds = ("title", "markdown", "caption", "error", "warning", "info", "success")
    return "\n".join(str(element.value) for kind in kinds for element in getattr(app, kind))


def figures(app: AppTest) -> list[dict]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def assert_sound(app: AppTest) -> None:
    assert not app.exception, [error.value for error in app.exception]
    assert "Something went wrong in scfviz" not in text_of(app), text_of(app)
    assert "Traceback" not in text_of(app)


@pytest.mark.parametrize("name", PAGES)
def test_page_alone_says_what_to_do_without_a_dataset(name):
    app = open_page(name, model="test/tiny")
    assert_sound(app)
    assert not app.error
    assert len(app.title) == 1
    if name == "home":
        assert any("demo" in button.label for button in app.button)
    if name == "cell_embedding":
        assert any("Choose a dataset" in button.label for button in app.button)


def test_router_shows_every_page():
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
    app.query_params["model"] = "test/tiny"
    app.run()
    assert_sound(app)
    for name in PAGES[1:]:
        app.switch_page(f"pages/{name}.py").run()
        assert_sound(app)
        assert app.title[0].value == routes.all_routes()[name].title


def test_every_page_has_a_route_with_title_icon_and_section():
    assert {path.stem for path in (ROOT / "pages").glob("*.py")} == set(routes.all_routes())
    assert all(route.title and route.icon for route in routes.all_routes().values())
    assert all(route.section for name, route in routes.all_routes().items() if name != "home")


def test_home_shows_the_map_and_what_was_computed(with_result):
    app = open_page("home", dataset=f"folder:0/{NASTY_FILE}", model="test/tiny")
    assert_sound(app)
    assert len(app.get("image")) == 1
    text = text_of(app)
    assert "Maps computed" in text and "90 cells" in text and "<b>B" not in text
    assert app.button(key="home-explorer").label == "Explore the cells"


def test_home_draws_a_quick_map_of_a_file_without_one(tmp_path):
    make_adata(40).write_h5ad(tmp_path / "data" / "cells.h5ad")
    app = open_page("home", dataset="folder:0/cells.h5ad", model="test/tiny")
    assert_sound(app)
    assert not app.get("image") and "A map is on its way" in text_of(app)
    assert app.button(key="home-cell_embedding").label == "Compute the model's map"


def test_a_table_of_two_genes_leads_to_the_explorer_and_says_everything_once(tmp_path, monkeypatch):
    """The page of the model would refuse what the check has refused."""
    rows = "".join(f"c{i},{i % 4 + 1},{i % 3}\n" for i in range(20))
    (tmp_path / "data" / "two.csv").write_text("cell,CD3E,MS4A1\n" + rows)
    app = open_page("dataset", dataset="folder:0/two.csv", model="test/tiny")
    assert_sound(app)
    assert text_of(app).count("Rows are cells and columns are genes") == 1
    assert "The model cannot read these genes" in text_of(app)
    for promise in ("The model sees each cell", "cannot be embedded", "the model itself reads 2"):
        assert promise not in text_of(app), "what cannot be read is not spoken of as if it could"
    went = []
    monkeypatch.setattr(routes, "go", went.append)
    next(button for button in app.button if button.label == "See its map").click().run()
    assert went == ["explorer"]
    home = open_page("home", dataset="folder:0/two.csv", model="test/tiny")
    assert_sound(home)
    assert [button.key for button in home.button if button.key.startswith("home-")] == ["home-explorer", "home-dataset"]


def test_home_imports_nothing_heavy():
    code = (
        "import sys; from streamlit.testing.v1 import AppTest;"
        "[sys.modules.pop(m) for m in list(sys.modules) if m.split('.')[0] == 'plotly'];"  # the test frame's own
        f"app = AppTest.from_file({str(ROOT / 'pages' / 'home.py')!r}, default_timeout=60).run();"
        "assert not app.exception and len(app.title) == 1;"
        "print([m for m in ('torch', 'scanpy', 'anndata', 'plotly', 'sklearn', 'umap') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_result_is_shown_with_names_as_text(with_result):
    app = open_page("cell_embedding", dataset=f"folder:0/{NASTY_FILE}", model="test/tiny")
    assert_sound(app)
    assert "Untrained model" in text_of(app)
    drawn = spec_of(app)
    assert drawn["n"] == 90 and [entry["name"] for entry in drawn["maps"]] == [
        "umap_model",
        "umap_baseline",
        "umap_joint",
    ]
    assert ["untrained" in entry["title"] for entry in drawn["maps"]] == [True, False, True]
    assert NASTY in drawn["colors"]["names"]  # the component writes names as text
    assert {"#112233", "#445566"} <= set(drawn["colors"]["palette"])  # the file's own colours
    for words in (text_of(app), "\n".join(m.value for m in app.sidebar.markdown)):
        assert "<i>own" not in words and "<b>B" not in words
    assert "\\<i\\>own\\<i\\> \\_cells\\_" in "\n".join(m.value for m in app.sidebar.markdown)


def test_maps_recolour_together_and_gene_is_found_by_any_name(with_result):
    from scfviz.data.vocabulary import load_vocabulary

    view = {"dataset": f"folder:0/{NASTY_FILE}", "model": "test/tiny"}
    app = open_page("cell_embedding", **view)
    app.segmented_control(key="x_color").set_value("value").run()
    assert_sound(app)
    assert spec_of(app)["colors"]["kind"] == "values" and len(spec_of(app)["maps"]) == 3
    app.segmented_control(key="x_color").set_value("gene").run()
    assert_sound(app)
    vocabulary = load_vocabulary()
    gene = next(g for g in app.selectbox(key="x_gene").options if vocabulary.ensembl[vocabulary.symbols.index(g)])
    app.selectbox(key="x_gene").set_value(gene).run()
    assert_sound(app)
    by_symbol = spec_of(app)["colors"]

    def typed(name: str) -> AppTest:
        return open_page("cell_embedding", {"x_color": "gene", "x_gene": name}, **view)

    app = typed(vocabulary.ensembl[vocabulary.symbols.index(gene)][0])
    assert_sound(app)
    assert spec_of(app)["colors"]["channel"] == by_symbol["channel"] and gene in spec_of(app)["colors"]["title"]
    app = typed("NOTAGENE")
    assert_sound(app)
    assert "NOTAGENE" in text_of(app) and len(spec_of(app)["maps"]) == 3  # said, and the maps stay


def test_clusters_and_scores_follow_the_resolution(with_result):
    app = open_page("cell_embedding", dataset=f"folder:0/{NASTY_FILE}", model="test/tiny")
    coarse = app.dataframe[0].value
    assert list(coarse["Map"])[1].startswith("Baseline") and len(coarse) == 3
    app.slider(key="resolution").set_value(3.0).run()
    assert_sound(app)
    fine = app.dataframe[0].value
    assert (fine["Clusters"] >= coarse["Clusters"]).all() and (fine["Clusters"] > coarse["Clusters"]).any()
    assert (fine["Silhouette of the labels"] == coarse["Silhouette of the labels"]).all()
    app.selectbox(key="x_label").set_value("clusters_model").run()
    assert_sound(app)
    assert len(spec_of(app)["colors"]["names"]) == fine["Clusters"][0]


def test_a_selection_is_the_same_on_the_maps_and_in_the_explorer(with_result):
    view = {"dataset": f"folder:0/{NASTY_FILE}", "model": "test/tiny"}
    app = open_page("explorer", {"scfviz.tour": None}, **view)
    assert_sound(app)
    app.text_input(key="x_query").set_value('cell_type == "T cell"')
    next(button for button in app.button if button.label == "Select").click().run()
    assert_sound(app)
    assert spec_of(app)["selection"]["n"] == 60
    (address,) = app.query_params["view"] if isinstance(app.query_params["view"], list) else [app.query_params["view"]]
    app = open_page("cell_embedding", view=address, **view)
    assert_sound(app)
    assert spec_of(app)["selection"]["n"] == 60
    assert "60 selected, as on the Explorer" in text_of(app)


def test_downloads_hold_the_results(with_result, tmp_path):
    import anndata as ad
    import pandas as pd

    from scfviz.ui.frame import sources
    from scfviz.ui.tasks import downloads, results

    result = results.load_embedding(with_result)
    table = downloads.cell_table(result, 1.0)
    assert len(table) == 90 and {
        "X_umap_scfoundation_1",
        "X_umap_baseline_2",
        "leiden_scfoundation",
        "cell_type",
    } <= set(table)
    (tmp_path / "out.h5ad").write_bytes(downloads.dataset_bytes(result, sources.resolve(f"folder:0/{NASTY_FILE}"), 1.0))
    written = ad.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(written.obsm["X_scfoundation"], result.embedding("model"))
    assert pd.Series(written.obs["leiden_scfoundation"].to_numpy()).nunique() == table["leiden_scfoundation"].nunique()
    about = json.loads(written.uns["scfviz"]["embedding"])
    assert about["provenance"]["pooling"] == "all" and about["checkpoint"]["name"] == "tiny"
    assert about["keys"]["leiden_joint"]["title"] == "Clusters of both together"
    assert "dataset" not in about["options"], "a path says nothing elsewhere, and may say too much"


def test_dataset_page_says_what_was_found_and_previews_filters(with_result):
    app = open_page("dataset", dataset=f"folder:0/{NASTY_FILE}", model="test/tiny")
    assert_sound(app)
    assert {metric.label for metric in app.metric} >= {"Cells", "Of the model's genes"}
    assert "Raw counts were found in X" in text_of(app).replace("\\", "")
    assert len(figures(app)) >= 2
    limit = next(field for field in app.number_input if "counts" in field.label)
    limit.set_value(limit.max).run()
    assert_sound(app)
    assert "**89 cells** of 90" in text_of(app) and "would be removed; 1 remain" in text_of(app)
    app.button(key="use-filters").click().run()
    assert "are removed" in text_of(app)
    app.button(key="clear-filters").click().run()
    assert "All 90 cells kept" in text_of(app)


def test_broken_files_are_explained_on_every_page(tmp_path):
    (tmp_path / "data" / "empty.h5ad").write_bytes(b"")
    (tmp_path / "data" / "page.h5ad").write_text("<html>not found</html>")
    make_adata(40).write_h5ad(tmp_path / "data" / "whole.h5ad")
    whole = (tmp_path / "data" / "whole.h5ad").read_bytes()
    (tmp_path / "data" / "cut.h5ad").write_bytes(whole[: len(whole) // 2])
    for file in ("empty", "page", "cut"):
        for name in ("dataset", "cell_embedding", "explorer"):
            app = open_page(name, dataset=f"folder:0/{file}.h5ad")
            assert_sound(app)
            assert len(app.error) == 1 and "**Found**" in app.error[0].value, text_of(app)
            assert f"{file}" in app.error[0].value
            assert "Compute the map" not in [button.label for button in app.button]
    app = open_page("home", dataset="folder:0/empty.h5ad")
    assert_sound(app)
    assert len(app.error) == 1


@pytest.mark.parametrize(
    "reference",
    [
        "folder:0/../../secret.h5ad",
        "folder:7/x.h5ad",
        "upload:../../etc/passwd",
        "file:/etc/passwd",
        "nonsense",
        "demo:no",
    ],
)
def test_addresses_reach_only_given_folders(reference, tmp_path):
    make_adata(10).write_h5ad(tmp_path / "secret.h5ad")
    for name in ("home", "dataset", "cell_embedding"):
        app = open_page(name, dataset=reference, model="test/tiny")
        assert_sound(app)
        assert len(app.error) == 1, (name, text_of(app))


def test_link_to_a_vanished_computation_or_a_broken_filter_is_explained(tmp_path):
    make_adata(40).write_h5ad(tmp_path / "data" / "cells.h5ad")
    app = open_page("cell_embedding", dataset="folder:0/cells.h5ad", job="0" * 16, model="test/tiny")
    assert_sound(app)
    assert "no such computation" in text_of(app)
    app = open_page("dataset", dataset="folder:0/cells.h5ad", min_genes="many")
    assert_sound(app)
    assert "no number" in text_of(app).replace("\\", "")


def test_genes_that_do_not_match_leave_the_choice_of_column_open(tmp_path):
    adata = make_adata(40)
    adata.var["real name"] = list(adata.var_names)
    adata.var_names = [f"probe{i}" for i in range(adata.n_vars)]
    adata.var = adata.var[[]].assign(other=[f"x{i}" for i in range(adata.n_vars)])
    adata.write_h5ad(tmp_path / "data" / "probes.h5ad")
    app = open_page("dataset", dataset="folder:0/probes.h5ad")
    assert_sound(app)
    assert len(app.error) == 1
    assert "other" in app.selectbox(key="gene_column").options


def test_waiting_computation_can_be_watched_stopped_and_resumed(tmp_path, workspace):
    make_adata(40).write_h5ad(tmp_path / "data" / "cells.h5ad")
    app = open_page("cell_embedding", dataset="folder:0/cells.h5ad", model="test/tiny")
    next(button for button in app.button if button.label == "Compute the map").click().run()
    assert_sound(app)
    (job,) = jobs.list_jobs(workspace)
    assert job.state == "queued" and job.options["dataset"].endswith("cells.h5ad")
    again = open_page("cell_embedding", dataset="folder:0/cells.h5ad", model="test/tiny")  # as after a refresh
    assert any(button.label == "Stop" for button in again.button)
    again.button(key="stop-job").click().run()
    assert jobs.status(workspace, job.id).state == "cancelled"
    again = open_page("cell_embedding", dataset="folder:0/cells.h5ad", model="test/tiny")
    assert "was stopped" in text_of(again)
    next(button for button in again.button if button.label == "Resume").click().run()
    assert_sound(again)
    assert jobs.status(workspace, job.id).state == "queued"


def test_a_waiting_computation_says_its_place_and_when_it_starts():
    from types import SimpleNamespace

    from scfviz.ui.frame.job_panel import describe_wait

    def job(left: float | None, state: str = "running") -> SimpleNamespace:
        return SimpleNamespace(seconds_left=left, state=state)

    assert describe_wait([], 1).startswith("Starting") and describe_wait([job(180.0)], 2).startswith("Starting")
    assert describe_wait([job(180.0)], 1) == "Number 1 in the queue, 1 computation running · starts in about 3 min"
    assert describe_wait([job(180.0), job(None, "queued")], 1) == (
        "Number 2 in the queue, 1 computation running · starts in 3 min at the earliest"
    )
    assert describe_wait([job(None)], 1).endswith("how long they take is not known yet")
    two = [job(600.0), job(180.0), job(240.0, "queued")]
    assert describe_wait(two, 2) == "Number 2 in the queue, 2 computations running · starts in about 7 min"


def test_hours_are_said_before_they_are_spent(with_result, monkeypatch):
    again = {"scfviz.again": ("embedding",)}
    app = open_page("cell_embedding", again, dataset=f"folder:0/{NASTY_FILE}", model="test/tiny")
    assert_sound(app)
    said = text_of(app).replace("\\", "")
    assert "for 90 cells, judged by the last computation here" in said
    from scfviz.model.config import PRESETS
    from scfviz.tasks.embedding.run import expected_seconds

    large = PRESETS["100M"] if "100M" in PRESETS else list(PRESETS.values())[-1]
    assert sum(expected_seconds(large, 1_000_000, 1000)) > 10 * sum(expected_seconds(large, 50_000, 1000))
    assert sum(expected_seconds(large, 10_000, 1000, seconds_per_cell=0.7)) > 7_000


@pytest.mark.parametrize("name", ["model", "explorer"])
def test_any_page_opens_the_demo_where_the_server_is_told_to(name, monkeypatch):
    monkeypatch.setenv("SCFVIZ_DEMO", "1")
    app = open_page(name, model="test/tiny")
    assert_sound(app)
    assert "demo:celltypist_sample" in app.query_params["dataset"]
    assert "Immune cells" in "\n".join(text.value for text in app.sidebar.markdown)


def test_axes_of_logarithms_have_numbers_that_can_be_read():
    from scfviz.ui.drawing.charts import log_ticks

    for low, high in ((210, 4_900), (1, 9), (480, 52_000), (3, 2_000_000), (700, 820), (0.02, 3)):
        ticks = log_ticks(low, high)
        assert 2 <= len(ticks) <= 6 and low <= min(ticks) and max(ticks) <= high, (low, high, ticks)
    assert 300 in log_ticks(210, 4_900)


def test_upload_is_kept_once_and_by_a_harmless_name(tmp_path, workspace):
    from scfviz.jobs import uploads
    from scfviz.ui.frame import sources

    make_adata(40).write_h5ad(tmp_path / "cells.h5ad")
    refs = []
    for name in ("../../cells<b>.h5ad", "../../cells<b>.h5ad"):
        with (tmp_path / "cells.h5ad").open("rb") as file:
            refs.append(uploads.save_upload(file, name, "a visitor"))
    assert refs[0] == refs[1]
    path = sources.locate(refs[0]).path
    assert path.is_relative_to(workspace.uploads) and path.name == "cells_b_.h5ad"
    assert len([p for p in workspace.uploads.rglob("*.h5ad") if p.is_file()]) == 1


@pytest.mark.parametrize("name", ["very_long_" * 30 + "counts.csv.gz", "ü" * 200 + ".h5ad"])
def test_a_long_name_of_an_upload_keeps_its_ending(tmp_path, name):
    from scfviz.jobs import uploads
    from scfviz.ui.frame import sources

    (tmp_path / "file").write_bytes(b"content")
    steps = []
    with (tmp_path / "file").open("rb") as file:
        path = sources.locate(uploads.save_upload(file, name, "a visitor", progress=steps.append)).path
    assert path.name.endswith(Path(name).suffixes[-1]) and len(path.name.encode()) <= 255
    assert steps == [7]


def test_an_upload_that_ends_early_is_no_fault_in_the_log():
    import logging

    from starlette.requests import ClientDisconnect

    from scfviz.ui.frame.upload_field import EndedUploads

    def record(error: Exception) -> logging.LogRecord:
        return logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, "", (), (type(error), error, None))

    wrapped = RuntimeError("in a task")
    wrapped.__cause__ = ClientDisconnect()
    assert not EndedUploads().filter(record(ClientDisconnect())) and not EndedUploads().filter(record(wrapped))
    assert EndedUploads().filter(record(RuntimeError("a fault")))


def test_model_page_shows_the_recorded_curve_and_refuses_a_broken_one(tmp_path):
    folder = tmp_path / "workspace" / "checkpoints" / "test" / "tiny"
    log = "step,loss,learning_rate,val_loss\n" + "".join(f"{i},{2 / (i + 1)},0.001,{2.1 / (i + 1)}\n" for i in range(5))
    (folder / "log.csv").write_text(log)
    app = open_page("model", model="test/tiny")
    assert_sound(app)
    names = {trace["name"] for trace in figures(app)[0]["data"]}
    assert names == {"training cells", "held-out cells"}
    (folder / "log.csv").write_bytes(b"\x00\xff\xfe,\n\x80")
    app = open_page("model", model="test/tiny")
    assert_sound(app)
    shutil.rmtree(folder)
    app = open_page("model", model="test/tiny")
    assert_sound(app)
    assert "There is no checkpoint" in text_of(app)
