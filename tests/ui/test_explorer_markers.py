"""The panel Markers: all groups in one click, what is one-sided is said, and other programs can read it."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from app_pages import check, open_explorer, text_of, work_off
from small_cells import make_cells

from scfviz import jobs
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer.maps.colors import Chosen
from scfviz.ui.explorer.panels import gene_table, markers
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import sources

FILE = "cells.h5ad"


@pytest.fixture
def cells(tmp_path, monkeypatch) -> ad.AnnData:
    monkeypatch.setenv("SCFVIZ_WORKSPACE", str(tmp_path / "workspace"))
    monkeypatch.setenv("SCFVIZ_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("scfviz.jobs.queue.start_worker", lambda workspace: None)
    cells = make_cells(120)
    values = cells.X.toarray()
    values[:, 399] = np.where(cells.obs["cell_type"] == "B cell", 3, 0)
    cells.X = values
    cells.var_names = [*cells.var_names[:399], "<b>MALAT1</b>"]
    cells.obsm["X_umap"] = np.random.default_rng(0).normal(size=(120, 2)).astype(np.float32)
    (tmp_path / "data").mkdir()
    cells.write_h5ad(tmp_path / "data" / FILE)
    return cells


def test_one_click_finds_the_markers_of_all_groups(cells):
    app = open_explorer(FILE, {"x_panel": "markers"})
    app.button(key="x_find_markers").click()
    check(app.run())
    work_off()
    check(app.run())
    overview, table = (frame.value for frame in app.dataframe[-2:])
    assert sorted(overview["Group"]) == ["B cell", "T cell", "monocyte"] and overview["Cells"].sum() == 120
    assert table["names"].iloc[0] == "<b>MALAT1</b>" and table["only_in"].iloc[0] == "first"
    assert np.isposinf(table["logfoldchanges"].iloc[0]) and not table["model_gene"].iloc[0]
    assert "of 400 genes of the file" in text_of(app)
    app.button(key="x_marker_dots").click()
    check(app.run())
    assert app.session_state["x_panel"] == "plots" and "<b>MALAT1</b>" in app.session_state["x_plot_genes"]


def test_a_table_of_genes_fits_beside_the_maps_and_has_words_where_there_is_no_number():
    """The column of fold changes said "None", and adjusted p values were cut off."""
    sides = {"only_in": ["", "first", "second"], "pct_in": [0.5, 0.2, 0.0], "pct_out": [0.1, 0.0, 0.3]}
    table = pd.DataFrame({"names": list("abc"), "logfoldchanges": [2.0, 31.7, -31.9], "pvals_adj": np.nan, **sides})
    written = gene_table._write(table, {"first": "group", "second": "others"})
    html = written.set_uuid("t").to_html()  # else its id may hold any digits
    assert "group only" in html and "others only" in html and "31" not in html and html.count("–") == 3
    assert not any(word in html.lower() for word in ("nan", "inf<", "none<"))
    assert written.data["logfoldchanges"].tolist() == [2.0, np.inf, -np.inf], "sorted as numbers, beside the largest"
    assert not written.data.isna().any(axis=None), "the browser writes None for what is missing, whatever its words are"
    in_view = ["names", "logfoldchanges", "pvals_adj", "pct_in", "pct_out"]
    assert list(gene_table._COLUMNS)[:5] == in_view, "what matters most stands first"
    assert sum(gene_table._COLUMNS[name][1] for name in in_view) + 40 <= 334, "the panel's width in a window of 1280"


def test_scanpy_reads_the_download(cells, tmp_path):
    import scanpy as sc

    open_explorer(FILE)
    source = sources.resolve(f"folder:0/{FILE}")
    options = {"dataset": str(source.path), "column": "cell_type"}
    job = jobs.submit(jobs.Workspace(), "markers", options)
    work_off()
    assert jobs.status(jobs.Workspace(), job).state == "done", jobs.status(jobs.Workspace(), job)
    data = explorer_data.explore(source, None, None)
    view = View(source, data, None, None, Chosen(["X_umap"], None, None), None, None)
    content = markers.scanpy_bytes(view, "cell_type", jobs.result_dir(jobs.Workspace(), job))
    (tmp_path / "got.h5ad").write_bytes(content)
    got = ad.read_h5ad(tmp_path / "got.h5ad")
    found = sc.get.rank_genes_groups_df(got, "B cell")
    assert (
        found["names"].iloc[0] == "<b>MALAT1</b>" and got.uns["rank_genes_groups"]["params"]["groupby"] == "cell_type"
    )
    assert set(found["names"]) == set(cells.var_names)
