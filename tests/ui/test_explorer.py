"""The explorer page: what is asked on a map becomes a rule that can be undone, a name lasts, genes are compared."""

import time
from pathlib import Path
from xml.etree import ElementTree

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from app_pages import check, n_selected, open_explorer, spec_of, text_of, work_off
from datasets import make_counts, some_genes
from PIL import Image
from streamlit.testing.v1 import AppTest

from scfviz import jobs
from scfviz.analysis.selection.history import SelectionHistory
from scfviz.analysis.selection.rules import Polygon, Query
from scfviz.data.source import dataset_id
from scfviz.ui.drawing import coloring, figure, quantise
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer import layout
from scfviz.ui.explorer.reporting import downloads
from scfviz.ui.explorer.selection import selections
from scfviz.ui.frame import sources

ROOT = Path(__file__).resolve().parents[2]
FILE = "<i>own<i> $cells$.h5ad"
N = 120
LEFT = [[-2.0, -2.0], [0.0, -2.0], [0.0, 2.0], [-2.0, 2.0]]  # holds the cells of type "B"


@pytest.fixture
def dataset(tmp_path, monkeypatch) -> Path:
    """A file with maps of its own, names that look like markup, and a gene that marks the cells on the left."""
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("scfviz.jobs.queue.start_worker", lambda workspace: None)
    rng = np.random.default_rng(0)
    is_left = np.arange(N) % 3 == 0
    counts = make_counts(N).toarray()
    counts[:, 7] = np.where(is_left, 20, 0)
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(np.where(is_left, "B", "<b>T</b> *x*")),
            "sample": pd.Categorical([f"s{i % 70}" for i in range(N)]),
            "doublet": is_left & (np.arange(N) % 2 == 0),
            "score": np.where(np.arange(N) % 10 == 0, np.nan, rng.normal(size=N)),
        },
        index=[f"<u>cell {i}</u>" for i in range(N)],
    )
    adata = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=some_genes()))
    adata.obsm["X_umap"] = np.stack([np.where(is_left, -1, 1) + rng.normal(0, 0.1, N), rng.normal(0, 0.3, N)], axis=1)
    adata.obsm["X_pca"] = rng.normal(size=(N, 5))
    adata.uns["cell_type_colors"] = ["#112233", "#445566"]
    (tmp_path / "data").mkdir()
    adata.write_h5ad(tmp_path / "data" / FILE)
    return tmp_path / "data" / FILE


def open_page(session: dict | None = None, **query: str) -> AppTest:
    return open_explorer(FILE, session, **query)


def act(app: AppTest, **event) -> AppTest:
    """What a browser sends."""
    app.session_state[layout.KEY] = {"event": {"id": str(time.monotonic_ns()), "operation": "replace"} | event}
    return check(app.run())


def source() -> sources.Source:
    return sources.resolve(f"folder:0/{FILE}")


def test_the_page_shows_the_files_own_maps_and_colours(dataset):
    app = open_page()
    spec = spec_of(app)
    assert [entry["name"] for entry in spec["maps"]] == ["X_umap"], "principal components are shown when asked for"
    assert (
        spec["n"] == N and spec["colors"]["palette"] == ["#445566", "#112233"] or spec["colors"]["counts"] == [80, 40]
    )
    assert "B" in spec["colors"]["names"]
    assert "120 of 120 cells shown" in text_of(app)


def test_what_is_the_same_for_all_cells_is_offered_last():
    """A column "cell_type" of unlabelled cells was the first colour, and showed nothing."""
    obs = pd.DataFrame({"cell_type": ["unlabelled"] * 4, "donor": list("abab"), "clusters_quick": list("0011")})
    labels, _ = explorer_data._columns(obs)
    assert labels == ("donor", "clusters_quick", "cell_type")


def test_without_a_dataset_the_page_says_what_to_do(dataset):
    app = AppTest.from_file(str(ROOT / "pages" / "explorer.py"), default_timeout=60).run()
    assert not app.exception and any("Choose a dataset" in button.label for button in app.button)


def test_lasso_undo_redo_invert_and_clear(dataset):
    app = act(open_page(x_maps=["X_umap", "X_pca"]), kind="lasso", map="X_umap", polygon=LEFT)
    assert n_selected(app) == 40 and "**40 of 120 cells**" in text_of(app)
    assert spec_of(app)["maps"][0]["outlines"] and not spec_of(app)["maps"][1]["outlines"]
    check(app.button(key="x_invert").click().run())
    assert n_selected(app) == 80
    check(app.button(key="x_undo").click().run())
    assert n_selected(app) == 40
    check(app.button(key="x_undo").click().run())
    assert n_selected(app) == 0
    check(app.button(key="x_redo").click().run())
    assert n_selected(app) == 40
    check(app.button(key="x_clear").click().run())
    assert n_selected(app) == 0


def test_a_legend_entry_selects_what_it_stands_for(dataset):
    """Also the entry that stands for many small groups: 70 samples are drawn as 59 and "other"."""
    app = open_page(x_label="sample")
    spec = spec_of(app)
    assert len(spec["colors"]["names"]) == 60
    other = next(i for i, name in enumerate(spec["colors"]["names"]) if name.startswith("other"))
    act(app, kind="category", code=other)
    assert n_selected(app) == spec["colors"]["counts"][other] == 11
    app = open_page(x_label="doublet")
    spec = spec_of(app)
    act(app, kind="category", code=spec["colors"]["names"].index("True"))
    assert n_selected(app) == 20


def test_a_rule_in_words_selects_and_a_wrong_one_is_explained(dataset):
    app = open_page()
    gene = some_genes()[7]
    app.text_input(key="x_query").set_value(f'cell_type == "B" and gene("{gene}") > 1 and not doublet')
    check(next(b for b in app.button if b.label == "Select").click().run())
    assert n_selected(app) == 20
    app.text_input(key="x_query").set_value('nothing_there == "B"')
    check(next(b for b in app.button if b.label == "Select").click().run())
    assert app.error and "nothing" in app.error[0].value
    assert app.button(key="x_compare"), "the panels stay"
    app.text_input(key="x_query").set_value("__import__('os')")
    check(next(b for b in app.button if b.label == "Select").click().run())
    assert app.error


def test_a_name_lasts_and_two_sessions_keep_each_others_names(dataset):
    first = act(open_page(), kind="lasso", map="X_umap", polygon=LEFT)
    second = open_page()
    assert n_selected(second) == 0, "what is selected belongs to a session"
    name_selection(first, "left cells")
    act(second, kind="category", code=spec_of(second)["colors"]["names"].index("B"))
    name_selection(second, "B cells")
    third = open_page()
    assert third.selectbox(key="x_named").options == ["B cells (40 cells)", "left cells (40 cells)"]
    check(third.button(key="x_apply").click().run())
    assert n_selected(third) == 40
    name_selection(third, "left cells")
    assert "already a selection" in third.error[0].value and third.button(key="x_compare")


def name_selection(app: AppTest, name: str) -> None:
    next(field for field in app.text_input if field.label == "Name").set_value(name)
    check(next(button for button in app.button if button.label == "Keep").click().run())


def test_a_damaged_file_of_selections_does_not_close_the_page(dataset):
    act(open_page(), kind="lasso", map="X_umap", polygon=LEFT)
    path = selections._path(dataset_id(dataset))
    assert path.exists()
    path.write_text('{"version": 1}', encoding="utf-8")
    assert n_selected(act(open_page(), kind="lasso", map="X_umap", polygon=LEFT)) == 40


def test_genes_are_read_the_same_with_and_without_the_store(dataset, monkeypatch):
    gene = some_genes()[7]
    plain = open_page({"x_color": "gene", "x_gene": gene})
    job = explorer_data_job()
    folder = jobs.Workspace().jobs / job
    run_job(folder)
    store = explorer_data.explore(source(), None, None)
    with_store = open_page({"x_color": "gene", "x_gene": gene})
    assert "being ordered" in text_of(plain) and "being ordered" not in text_of(with_store)
    assert spec_of(plain)["colors"]["channel"] == spec_of(with_store)["colors"]["channel"]
    values = explorer_data.gene_values(source(), store, gene, str(folder / "result" / "store"))
    assert np.allclose(values, explorer_data.gene_values(source(), store, gene, None), rtol=1e-6)


def explorer_data_job() -> str:
    return next(job.id for job in jobs.list_jobs(jobs.Workspace()) if job.kind == "gene_store")


def run_job(folder: Path) -> None:
    work_off()
    assert jobs.status(jobs.Workspace(), folder.name).state == "done"


def test_aliases_are_found_and_unmeasured_genes_explained(dataset):
    app = open_page({"x_color": "gene", "x_gene": "NOT_A_GENE"})
    assert app.error and "NOT\\_A\\_GENE" in app.error[0].value
    assert spec_of(app)["colors"]["title"] == "cell_type", "the maps stay, in the last colours that could be had"
    assert app.button(key="x_compare"), "so do selection and panels"
    app = open_page({"x_color": "set", "x_set_source": "own", "x_set_genes": some_genes()[7]})
    good = spec_of(app)["colors"]["title"]
    app.text_input(key="x_set_genes").set_value("NOT_A_GENE")
    assert spec_of(check(app.run()))["colors"]["title"] == good and app.error
    mixed = open_page({"x_color": "genes", "x_genes": some_genes()[5:8]})
    assert spec_of(mixed)["colors"]["kind"] == "blend"


def test_values_show_what_is_not_known(dataset):
    app = open_page({"x_color": "value", "x_value": "score"})
    assert spec_of(app)["colors"]["n_unknown"] == 12


def test_a_click_on_a_cell_says_its_name_as_text(dataset):
    app = act(open_page(), kind="cell", map="X_umap", cell=3)
    assert "\\<u\\>cell 3\\<\\/u\\>" in text_of(app)
    act(app, kind="cell", map="X_umap", cell=10**9)


def test_a_comparison_finds_the_marker_and_colours_the_maps(dataset):
    app = act(open_page(), kind="lasso", map="X_umap", polygon=LEFT)
    check(app.button(key="x_compare").click().run())
    run_job(next(jobs.Workspace().jobs / j.id for j in jobs.list_jobs(jobs.Workspace()) if j.kind.startswith("diff")))
    check(app.run())
    table = app.dataframe[-1].value
    gene = some_genes()[7]
    assert table["names"].iloc[0] == gene
    assert "40 against 80 cells" in text_of(app)
    app.session_state["x_color"], app.session_state["x_gene"] = "gene", gene
    check(app.run())
    assert spec_of(app)["colors"]["title"] == gene


def test_the_table_holds_maps_selections_and_every_column(dataset):
    open_page()
    data = explorer_data.explore(source(), None, None)
    history = SelectionHistory().select(Polygon("X_umap", tuple(map(tuple, LEFT)))).keep("left", 40, N)
    table = downloads.cell_table(data, history.select(Query('cell_type != "B"')))
    assert len(table) == N and list(data.obs.columns) == list(table.columns[: len(data.obs.columns)])
    assert table["selection: left"].sum() == 40 and table["selected"].sum() == 80
    assert np.allclose(table["X_umap_1"], data.maps["X_umap"][:, 0])


@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_figures_open_and_say_what_they_show(dataset, tmp_path, kind):
    open_page()
    data = explorer_data.explore(source(), None, None)
    labels = coloring.color_by_labels("cell_type", data.obs["cell_type"])
    content = figure.draw_maps({"A $map$": data.maps["X_umap"]}, labels, kind, hidden=(1,), caption="120 cells")
    path = tmp_path / f"figure.{kind}"
    path.write_bytes(content)
    if kind == "svg":
        texts = "".join(ElementTree.fromstring(content).itertext())
        assert "A $map$" in texts and "80 of 120 cells shown" in texts or "40 of 120 cells shown" in texts
        assert b"<image" in content
    elif kind == "png":
        assert Image.open(path).size[1] > 1_000
    else:
        assert content.startswith(b"%PDF")


def test_names_in_a_figure_stay_inside_and_apart():
    from matplotlib.figure import Figure

    axes = Figure(figsize=(4, 4)).add_subplot()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    figure._write_labels(axes, [(f"a long name of group {i}", (0.02, 0.5)) for i in range(9)])
    boxes, frame = [text.get_window_extent() for text in axes.texts], axes.get_window_extent()
    assert 3 <= len(boxes) < 9 and axes.texts[0].get_text().endswith("0")
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
    assert not any(one.shrunk(0.98, 0.98).overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_figures_of_values_and_blends_are_drawn(dataset):
    open_page()
    data = explorer_data.explore(source(), None, None)
    score = coloring.color_by_values("score", "units", data.obs["score"].to_numpy())
    mixed = quantise.blend({"A": data.maps["X_umap"][:, 0], "B": data.maps["X_umap"][:, 1]}, "units")
    for chosen in (score, mixed):
        mask = data.maps["X_umap"][:, 0] < 0
        assert len(figure.draw_maps({"m": data.maps["X_umap"]}, chosen, "png", selected=mask)) > 10_000
