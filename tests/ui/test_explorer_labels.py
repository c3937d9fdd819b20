"""Labels, subsets and exports of the explorer: what was said about cells stays true for exactly these cells."""

import io
import json
import re
from importlib.metadata import version

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import test_explorer as explorer
from app_pages import work_off
from datasets import some_genes
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1.element_tree import Selectbox
from test_explorer import FILE, LEFT, N, act, check, open_page, run_job, source, text_of

from scfviz import jobs
from scfviz.analysis.labels.labels import start_annotation
from scfviz.analysis.selection.history import SelectionHistory
from scfviz.analysis.selection.rules import Categories, Polygon, Query, to_json
from scfviz.data.source import dataset_id
from scfviz.errors import OptionError
from scfviz.jobs.kinds.export import read_lineage
from scfviz.jobs.labels import change_labels, column_version, list_labels, remove_labels, start_labels
from scfviz.jobs.queue import write_status
from scfviz.ui.drawing import coloring
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer.maps.colors import Chosen
from scfviz.ui.explorer.panels import labels
from scfviz.ui.explorer.reporting import downloads
from scfviz.ui.explorer.selection import selections
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import sources
from scfviz.ui.frame.text import plain

dataset = explorer.dataset
HOSTILE = [
    "<script>alert(1)</script>",
    "=SUM(A1:A9)",
    "**bold** $x$ :red[x]",
    "Ünï 細胞 🧬",
    "x" * 120,
    "a/b\\c",
    "-1+1",
]
LASSO = Polygon("X_umap", tuple(map(tuple, LEFT)))


@pytest.fixture(autouse=True)
def _typed_options(monkeypatch):
    """A selectbox that takes new options sends what was typed, as in a browser; AppTest knows only those listed."""

    def state_of(box: Selectbox) -> WidgetState:
        state = WidgetState(id=box.id)
        if box.value is not None:
            state.string_value = box.format_func(box.value)
        return state

    monkeypatch.setattr(Selectbox, "_widget_state", property(state_of))


def start_column(name: str = "mine", column: str | None = None) -> str:
    """A column of labels as the page starts it; gives the dataset's identity."""
    data = explorer_data.explore(source(), None, None)
    start_labels(jobs.Workspace(), data.dataset, start_annotation(name, data.context.obs, column=column), data.obs)
    return data.dataset


def texts(name: str = "mine") -> list:
    found = list_labels(jobs.Workspace(), dataset_id(source().path))[name]
    return found.column(range(N)).astype(object).where(lambda s: s.notna(), None).tolist()


def view_of(rule=None, column: str | None = None, named: dict | None = None, ref: str | None = None) -> View:
    opened = sources.resolve(ref) if ref else source()
    data = explorer_data.explore(opened, None, None)
    history = SelectionHistory()
    for name, kept in (named or {}).items():
        history = history.select(kept).keep(name, int(data.mask(kept).sum()), len(data.shown))
    history = history.select(rule)
    chosen = Chosen(list(data.maps), coloring.Values("none", "", np.zeros(len(data.shown)), 0, 1), None)
    if column is not None:
        shown = coloring.color_by_labels(column, data.column(column), stored=None)
        chosen = Chosen(list(data.maps), shown, column)
    return View(opened, data, None, None, chosen, history, None if rule is None else data.mask(rule))


def labels_page(**session):
    return open_page({"x_panel": "labels", **session})


def click(app, key: str):
    return check(app.button(key=key).click().run())


def submit(app, label: str):
    return check(next(b for b in app.button if b.label == label).click().run())


def test_a_lasso_gives_cells_a_label_and_says_what_they_were(dataset):
    app = act(labels_page(), kind="lasso", map="X_umap", polygon=LEFT)
    assert "No labels of your own yet" in text_of(app)
    app.text_input(key="x_labels_first_name").set_value("mine")
    app.selectbox(key="x_labels_first_from").set_value("cell_type")
    submit(app, "Start labelling")
    assert app.session_state["x_label"] == "mine" and "40 cells selected: 40 **B**" in text_of(app)
    app.text_input(key="x_labels_author").set_value("Ada")
    check(app.selectbox(key="x_labels_give").set_value("NK").run())
    assert "40 cells get **NK**; 40 of them were **B**." in text_of(app)
    click(app, "x_labels_move")
    assert texts().count("NK") == 40 and texts().count("B") == 0
    table = app.dataframe[-2].value
    assert dict(zip(table["Label"], table["Cells"], strict=True)) == {"<b>T</b> *x*": 80, "NK": 40}
    assert table["Selected"].tolist() == [0, 40] and table["By"].tolist() == ["", "Ada"]
    assert "Move cells to 'NK': a lasso of 4 points" in table["How"].iloc[1] and "cell_type" in table["How"].iloc[0]
    # the labels are a column like any other: a rule can ask for them, the legend names them
    assert "NK" in explorer.spec_of(app)["colors"]["names"]
    app.text_input(key="x_query").set_value('mine == "NK"')
    submit(app, "Select")
    assert explorer.n_selected(app) == 40
    click(app, "x_labels_undo")
    assert texts().count("B") == 40
    click(app, "x_labels_redo")
    assert texts().count("NK") == 40


def test_labels_merge_get_names_and_are_given_up(dataset):
    start_column(column="cell_type")
    app = labels_page()
    app.multiselect(key="x_labels_chosen").set_value(["B"]).run()
    app.text_input(key="x_labels_name_0").set_value("B cell")
    submit(app, "Rename")
    assert texts().count("B cell") == 40
    app.multiselect(key="x_labels_chosen").set_value(["B cell", "<b>T</b> *x*"]).run()
    click(app, "x_labels_select")
    assert explorer.n_selected(app) == N
    app.text_input(key="x_labels_name_1").set_value("lymphocyte")
    submit(app, "Merge")
    assert texts() == ["lymphocyte"] * N
    app.multiselect(key="x_labels_chosen").set_value(["lymphocyte"]).run()
    click(app, "x_labels_drop")
    assert texts() == [None] * N and "120 of 120 cells have no label" in text_of(app)
    click(app, "x_labels_undo")
    assert texts() == ["lymphocyte"] * N
    click(app, "x_labels_remove")
    assert "No labels of your own yet" in text_of(app) and "The selection was cleared" in text_of(app)


@pytest.mark.parametrize("name", ["cell_type", "clusters_model", "mine", "", "x" * 121])
def test_no_column_is_ever_overwritten(dataset, name):
    start_column("mine")
    app = labels_page()
    app.text_input(key="x_labels_new_name").set_value(name)
    submit(app, "Start labelling")
    assert app.error
    assert list(list_labels(jobs.Workspace(), dataset_id(dataset))) == ["mine"]
    assert ad.read_h5ad(dataset).obs["cell_type"].value_counts().to_dict() == {"<b>T</b> *x*": 80, "B": 40}


def test_two_sessions_find_each_others_labels(dataset):
    found = start_column()
    first, second = labels_page(), labels_page()
    for app, polygon, label in ((first, LEFT, "left"), (second, [[0.2, -2], [2, -2], [2, 2], [0.2, 2]], "right")):
        act(app, kind="lasso", map="X_umap", polygon=polygon)
        check(app.selectbox(key="x_labels_give").set_value(label).run())
    click(first, "x_labels_move")
    click(second, "x_labels_move")
    assert texts().count("left") == 40 and texts().count("right") == 80
    # undo of what somebody else did since is refused, and nothing is lost
    workspace = jobs.Workspace()
    seen = column_version(workspace, found, "mine")
    change_labels(workspace, found, "mine", lambda a: a.assign(np.ones(N, bool), "all"))
    with pytest.raises(OptionError, match="Somebody else"):
        change_labels(workspace, found, "mine", lambda a: a.undo(), seen=seen)
    assert texts() == ["all"] * N
    remove_labels(workspace, found, "mine")
    with pytest.raises(OptionError, match="no longer there"):
        change_labels(workspace, found, "mine", lambda a: a.undo())
    check(first.run())


def test_a_damaged_file_of_labels_does_not_close_the_page(dataset):
    start_column()
    path = next((jobs.Workspace().root / "labels").rglob("*.npz"))
    path.write_bytes(path.read_bytes()[:50])
    assert "No labels of your own yet" in text_of(labels_page())


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_labels_stay_text_everywhere(dataset, label, tmp_path):
    found = start_column()
    data = explorer_data.explore(source(), None, None)
    change_labels(jobs.Workspace(), found, "mine", lambda a: a.assign(data.mask(LASSO), label))
    app = labels_page(x_label="mine", x_labels_give=label)
    act(app, kind="lasso", map="X_umap", polygon=LEFT)
    assert label in explorer.spec_of(app)["colors"]["names"]
    shown = text_of(app)
    assert f"All 40 cells are **{plain(label)}** already" in shown and (plain(label) == label or label not in shown)
    path = tmp_path / "out.h5ad"
    path.write_bytes(downloads.dataset_bytes(view_of(LASSO, "mine"), None))
    assert ad.read_h5ad(path).obs["mine"].cat.categories.tolist() == [label]
    csv = labels.labels_to_csv(list_labels(jobs.Workspace(), found)["mine"], data.context.obs.index)
    assert not [cell for row in pd.read_csv(io.StringIO(csv)).to_numpy() for cell in row if str(cell)[0] in "=+-@"]


def test_labels_go_out_as_csv_and_come_back_by_barcode(dataset, monkeypatch):
    found = start_column(column="cell_type")
    data = explorer_data.explore(source(), None, None)
    annotation = list_labels(jobs.Workspace(), found)["mine"]
    text = labels.labels_to_csv(annotation, data.context.obs.index).replace("<u>cell 0</u>", "nobody")
    start_column("again")
    app = labels_page(x_labels_column="again")
    app.file_uploader(key="x_labels_file").upload("my labels.csv", text.encode(), "text/csv").run()
    click(app, "x_labels_import")
    assert texts("again")[1:] == texts("mine")[1:] and texts("again")[0] is None
    assert "119 cells were found by barcode" in "\n".join(str(s.value) for s in app.success)
    assert "Not found\\: nobody" in "\n".join(str(s.value) for s in app.success)


def test_a_group_of_the_legend_gets_another_name(dataset, monkeypatch):
    monkeypatch.setattr(labels.st, "rerun", lambda **_: None)
    open_page()
    labels.rename_group(view_of(column="cell_type"), "B", "B cell")
    assert set(texts("cell_type (edited)")) == {"B cell", "<b>T</b> *x*"}
    data = explorer_data.explore(source(), None, None)
    shown = coloring.color_by_labels("", data.column("cell_type (edited)"), stored=data.colors["cell_type (edited)"])
    file = dict(zip(ad.read_h5ad(dataset).obs["cell_type"].cat.categories, ["#112233", "#445566"], strict=True))
    assert dict(zip(shown.names, shown.colors, strict=True)) == {
        "B cell": file["B"],
        "<b>T</b> *x*": file["<b>T</b> *x*"],
    }
    labels.rename_group(view_of(column="cell_type (edited)"), "B cell", "naive B")
    assert texts("cell_type (edited)").count("naive B") == 40
    assert len(list_labels(jobs.Workspace(), dataset_id(dataset))) == 1
    with pytest.raises(OptionError, match="already a label"):
        labels.rename_group(view_of(column="cell_type (edited)"), "naive B", "<b>T</b> *x*")


def test_comparisons_speak_of_labels_and_follow_their_changes(dataset):
    found = start_column()
    data = explorer_data.explore(source(), None, None)
    workspace = jobs.Workspace()
    change_labels(workspace, found, "mine", lambda a: a.assign(data.mask(LASSO), "NK"))
    options = {"dataset": str(dataset), "group": to_json(Categories("mine", ("NK",)))}
    first = jobs.submit(workspace, "differential_expression", options)
    run_job(workspace.jobs / first)
    report = json.loads((workspace.jobs / first / "result" / "report.json").read_text())
    assert report["n_group"] == 40
    change_labels(workspace, found, "mine", lambda a: a.assign(np.arange(N) < 10, None))
    second = jobs.submit(workspace, "differential_expression", options)
    assert second != first
    change_labels(workspace, found, "mine", lambda a: a.undo())
    assert jobs.submit(workspace, "differential_expression", options) == first
    work_off(workspace)
    assert jobs.status(workspace, second).state == "failed"
    assert "have changed" in jobs.status(workspace, second).error["found"]


def ask_subset(view: View, name: str) -> str:
    """Write a subset as the page asks for it; gives its reference."""
    from scfviz.ui.explorer.selection.subset import options_of

    workspace = jobs.Workspace()
    job = jobs.submit(workspace, "subset", options_of(view, view.history.current) | {"name": name})
    run_job(workspace.jobs / job)
    return json.loads((workspace.jobs / job / "result" / "report.json").read_text())["ref"]


@pytest.mark.parametrize("limit", [2**30, 1000], ids=["memory", "disk"])
def test_a_subset_holds_exactly_the_rows_that_were_selected(dataset, monkeypatch, limit):
    from scfviz.data import matrix as mx

    whole = ad.read_h5ad(dataset)
    whole.layers["counts"], whole.raw = whole.X.copy(), whole.copy()
    whole.varm["loadings"], whole.obsp["graph"] = np.ones((whole.n_vars, 2)), whole.X @ whole.X.T
    whole.write_h5ad(dataset)
    start_column()
    monkeypatch.setattr(mx, "IN_MEMORY_BYTES", limit)
    monkeypatch.setattr(mx, "BLOCK_BYTES", 4000)
    view = view_of(LASSO)
    cells = np.flatnonzero(view.mask)
    change_labels(jobs.Workspace(), view.data.dataset, "mine", lambda a: a.assign(view.mask, "left"))
    path = sources.resolve(ask_subset(view, "Left <b>/../cells")).path
    assert path.name == "Left _b_.._cells.h5ad" and path.is_relative_to(jobs.Workspace().datasets)
    part = ad.read_h5ad(path)
    assert part.obs_names.tolist() == whole.obs_names[cells].tolist() and part.var.equals(whole.var)
    for found, expected in ((part.X, whole.X), (part.layers["counts"], whole.X), (part.raw.X, whole.X)):
        assert np.array_equal(found.toarray(), expected[cells])
    assert np.array_equal(part.obsm["X_umap"], whole.obsm["X_umap"][cells])
    assert np.array_equal(part.varm["loadings"], whole.varm["loadings"])
    assert np.array_equal(part.obsp["graph"], whole.obsp["graph"][np.ix_(cells, cells)])
    assert part.obs["cell_type"].cat.categories.tolist() == ["B"]
    assert part.uns["cell_type_colors"].tolist() == ["#445566"]
    assert part.obs["mine"].tolist() == ["left"] * 40
    (entry,) = read_lineage(part.uns)
    assert entry["title"] == FILE and entry["dataset"] == dataset_id(dataset) and entry["rule"] == to_json(LASSO)
    assert (entry["n_cells"], entry["n_obs"]) == (40, N) and "lasso" in entry["words"]


def test_counts_are_opened_only_for_a_rule_that_names_a_gene(dataset, monkeypatch):
    """Finding them may read the whole file; a lasso, a label and a query of columns need none of its counts."""
    from scfviz.jobs import context

    asked, open_file = [], context.open_file
    open_page()
    work_off()  # the store of genes, which needs them
    views = [view_of(rule) for rule in (LASSO, Query('cell_type == "B"'), Query(f'gene("{some_genes()[7]}") > 1'))]
    monkeypatch.setattr(context, "open_file", lambda *a, **k: asked.append(1) or open_file(*a, **k))
    lasso, query, gene = (ask_subset(view, f"part {number}") for number, view in enumerate(views))
    assert len(asked) == 1
    cells = [ad.read_h5ad(sources.resolve(ref).path).obs_names.tolist() for ref in (lasso, query, gene)]
    assert len(cells[0]) == 40 and cells[0] == cells[1] == cells[2]


def test_a_subset_of_a_subset_keeps_its_lineage_and_leads_back(dataset):
    open_page()
    first = ask_subset(view_of(LASSO), "left")
    inner = view_of(Categories("doublet", (True,)), ref=first)
    second = ask_subset(inner, "inner")
    lineage = read_lineage(ad.read_h5ad(sources.resolve(second).path).uns)
    assert [(e["title"], e["n_cells"], e["n_obs"]) for e in lineage] == [(FILE, 40, N), ("left.h5ad", 20, 40)]
    app = open_page(dataset=second)
    assert "**20 of 40 cells** of left\\.h5ad, itself selected in" in text_of(app)
    click(app, "lineage-back")
    assert app.query_params["dataset"] == first and "**40 of 120 cells**" in text_of(app)
    click(app, "lineage-back")
    assert "lineage-back" not in [button.key for button in app.button]


def test_the_page_opens_what_was_selected_as_a_dataset(dataset):
    app = open_page({"x_panel": "subset"})
    assert "Nothing is selected" in text_of(app)
    act(app, kind="lasso", map="X_umap", polygon=LEFT)
    next(t for t in app.text_input if t.label == "Name of the new dataset").set_value("Left $cells$")
    submit(app, "Open as a dataset")
    work_off()
    app.run()
    assert not app.exception
    assert app.query_params["dataset"].endswith("/Left _cells.h5ad")
    assert "**40 of 120 cells**" in text_of(app), "the new dataset opens in the explorer, with the way back"
    again = open_page({"x_panel": "subset"})
    assert "Opened before" in text_of(again) and "Left \\_cells" in text_of(again)


def test_a_lineage_from_anyone_is_read_with_care():
    entry = {"dataset": "a", "title": "t" * 900, "ref": "demo:x", "words": "w", "at": "2026", "version": "1"}
    entry |= {"n_cells": 1, "n_obs": 2}
    assert len(read_lineage({"scfviz": {"lineage": json.dumps([entry])}})[0]["title"]) == 500
    for text in ("", "{", "[1]", "null", '{"a": 1}', json.dumps([{**entry, "n_cells": "many"}]), 7):
        assert read_lineage({"scfviz": {"lineage": text}}) == []
    assert read_lineage({}) == [] and read_lineage({"scfviz": "text"}) == []


def check_conventions(adata: ad.AnnData) -> None:
    """What scanpy, cellxgene and the schema of CZI ask of a file."""
    for key, value in adata.obsm.items():
        assert re.fullmatch(r"X_[a-zA-Z][a-zA-Z0-9_.-]*", key), key
        assert value.shape[1] >= 2 and not np.isinf(value).any()
    for key in adata.uns:
        if key.endswith("_colors"):
            column = adata.obs[key.removesuffix("_colors")]
            groups = column.cat.categories if hasattr(column, "cat") else column.unique()
            assert len(adata.uns[key]) >= len(groups)
            assert all(re.fullmatch(r"#[0-9a-fA-F]{6}", color) for color in adata.uns[key])
    assert adata.obs_names.is_unique and not [name for name in adata.obs if "/" in str(name)]


@pytest.mark.parametrize("rule", [None, LASSO], ids=["all", "selected"])
def test_an_export_opens_in_scanpy_with_labels_selections_and_colours(dataset, tmp_path, rule):
    import matplotlib
    import scanpy as sc

    matplotlib.use("Agg")
    found = start_column("my/labels")
    mask = explorer_data.explore(source(), None, None).mask(LASSO)
    change_labels(jobs.Workspace(), found, "my/labels", lambda a: a.assign(mask, "NK", how="a lasso", author="Ada"))
    view = view_of(rule, "my/labels", named={"left": LASSO})
    path = tmp_path / "out.h5ad"
    path.write_bytes(downloads.dataset_bytes(view, rule))
    adata = ad.read_h5ad(path)
    cells = np.arange(N) if rule is None else np.flatnonzero(mask)
    assert adata.obs_names.tolist() == view.data.obs.index[cells].tolist()
    assert (adata.obs["my_labels"] == "NK").to_numpy().tolist() == mask[cells].tolist()
    assert adata.obs["selection: left"].to_numpy().tolist() == mask[cells].tolist()
    assert adata.obs["cell_type"].tolist() == ad.read_h5ad(dataset).obs["cell_type"].iloc[cells].tolist()
    check_conventions(adata)
    assert adata.uns["my_labels_colors"][0] == view.chosen.coloring.colors[0]
    sc.pl.umap(adata, color=["my_labels", "cell_type", "selection: left"], show=False)
    assert adata.uns["cell_type_colors"][-1 if rule is None else 0] == ("#445566" if rule is None else "#112233") or (
        set(adata.uns["cell_type_colors"]) <= {"#112233", "#445566"}
    )
    about = adata.uns["scfviz"]
    kept = json.loads(about["selections"])
    assert kept == [{"name": "left", "words": LASSO.describe(), "rule": to_json(LASSO)}]
    told = json.loads(about["labels"])["my/labels"]["history"][0]
    assert (told["author"], told["how"], told["n_cells"]) == ("Ada", "a lasso", 40)
    assert json.loads(about["export"])["versions"]["anndata"] == version("anndata")
    assert ("lineage" in about) == (rule is not None)


def embedded(n_removed: int = 20) -> str:
    """A finished embedding of the dataset, without the first cells; gives the job's id."""
    workspace, job = jobs.Workspace(), "0123456789abcdef"
    result = workspace.jobs / job / "result"
    (result / "arrays").mkdir(parents=True)
    options = {"dataset": str(source().path)}
    content = {"id": job, "kind": "embedding", "options": options, "identity": {}, "created_at": 0}
    (result.parent / "job.json").write_text(json.dumps(content))
    write_status(result.parent, state="done", stage="Done", fraction=1.0)
    kept, rng = np.arange(n_removed, N), np.random.default_rng(1)
    np.save(result / "kept.npy", kept)
    for name, width in (("embedding", 8), ("baseline", 5), ("umap_model", 2), ("umap_baseline", 2)):
        np.save(result / "arrays" / f"{name}.npy", rng.normal(size=(len(kept), width)).astype(np.float32))
    clusters = pd.Categorical([str(i % 12) for i in kept], categories=[str(i) for i in range(12)])
    groups = {f"clusters_{way}": clusters for way in ("model", "baseline")}
    pd.DataFrame({**groups, "total_counts": 1.0, "n_genes": 2, "pct_counts_mt": 0.0}).to_parquet(
        result / "cells.parquet"
    )
    report = {
        "task": "embedding",
        "notes": [],
        "scores": {},
        "n_removed": n_removed,
        "checkpoint": {"name": "tiny", "hash": "abc", "is_trained": True, "licence": ""},
    }
    (result / "report.json").write_text(json.dumps(report | {"provenance": {"target_depth": 1e4}, "genes": {}}))
    return job


@pytest.mark.parametrize("selected", [False, True], ids=["all", "selected"])
def test_an_export_holds_the_embedding_under_its_usual_names(dataset, tmp_path, selected):
    job = embedded()
    data = explorer_data.explore(source(), job, None)
    rule = Categories("clusters_model", ("3", "11")) if selected else None
    shown = coloring.color_by_labels("x", data.column("clusters_model"))
    mask = None if rule is None else data.mask(rule)
    history = SelectionHistory().select(rule)
    view = View(source(), data, job, None, Chosen([], shown, "clusters_model"), history, mask)
    (tmp_path / "out.h5ad").write_bytes(downloads.dataset_bytes(view, rule))
    adata = ad.read_h5ad(tmp_path / "out.h5ad")
    check_conventions(adata)
    kept = np.arange(N) >= 20
    cells = np.flatnonzero(kept & np.isin(np.arange(N) % 12, [3, 11])) if selected else np.arange(N)
    assert adata.obs_names.tolist() == data.context.obs.index[cells].tolist()
    result = jobs.Workspace().jobs / job / "result"
    for key, name in {"X_scfoundation": "embedding", "X_umap_scfoundation": "umap_model"}.items():
        values = np.full((N, adata.obsm[key].shape[1]), np.nan, np.float32)
        values[kept] = np.load(result / "arrays" / f"{name}.npy")
        assert np.array_equal(adata.obsm[key], values[cells], equal_nan=True)
    order = ["3", "11"] if selected else [str(i) for i in range(12)]
    assert adata.obs["leiden_scfoundation"].cat.categories.tolist() == order
    assert adata.obs["leiden_scfoundation"].isna().sum() == (0 if selected else 20)
    assert json.loads(adata.uns["scfviz"]["embedding"])["checkpoint"]["hash"] == "abc"
    colors = dict(zip(order, adata.uns["leiden_scfoundation_colors"], strict=True))
    assert {name: colors[name] for name in order} == {
        name: color for name, color in zip(shown.names, shown.colors, strict=True) if name in order
    }


def test_a_file_that_is_exported_twice_keeps_what_the_first_export_said(dataset, tmp_path):
    start_column()
    (dataset.parent / "once.h5ad").write_bytes(downloads.dataset_bytes(view_of(LASSO), LASSO))
    view = view_of(Categories("cell_type", ("B",)), ref="folder:0/once.h5ad")
    (tmp_path / "twice.h5ad").write_bytes(downloads.dataset_bytes(view, view.history.current))
    about = ad.read_h5ad(tmp_path / "twice.h5ad").uns["scfviz"]
    assert len(json.loads(about["lineage"])) == 2
    assert json.loads(about["export"])["title"] == FILE and json.loads(about["export_scfviz"])["title"] == "once.h5ad"


def test_a_large_file_is_exported_by_a_job_with_the_same_content(dataset, monkeypatch, tmp_path):
    start_column(column="cell_type")
    monkeypatch.setattr(downloads, "MAX_DIRECT_BYTES", 10)
    data = explorer_data.explore(source(), None, None)
    selections_of = SelectionHistory().select(LASSO).keep("left", 40, N)
    app = open_page({f"scfviz.selections.{data.dataset}": selections_of})
    click(app, "x_selected_h5ad_ask")
    work_off()
    check(app.run())
    job = next(j for j in jobs.list_jobs(jobs.Workspace()) if j.kind == "export")
    path = jobs.result_dir(jobs.Workspace(), job.id) / "i_own_i_ _cells_selected.h5ad"
    assert any("Download it" in b.proto.label for b in app.get("download_button")) and f"`{path}`" in text_of(app)
    (tmp_path / "direct.h5ad").write_bytes(downloads.dataset_bytes(view_of(LASSO, "cell_type", {"left": LASSO}), LASSO))
    by_job, direct = ad.read_h5ad(path), ad.read_h5ad(tmp_path / "direct.h5ad")
    assert by_job.obs.equals(direct.obs) and (by_job.X != direct.X).nnz == 0
    assert by_job.uns["cell_type_colors"].tolist() == direct.uns["cell_type_colors"].tolist()


def test_selections_are_saved_beside_labels_and_know_them(dataset):
    found = start_column()
    data = explorer_data.explore(source(), None, None)
    change_labels(jobs.Workspace(), found, "mine", lambda a: a.assign(data.mask(LASSO), "NK"))
    data = explorer_data.explore(source(), None, None)
    assert data.mask(Categories("mine", ("NK",))).sum() == 40 and data.mask(Categories("mine", (None,))).sum() == 80
    assert "mine" in data.labels and data.own == ("mine",)
    assert selections.outlines(Categories("mine", ("NK",))) == {}


def test_disabled_buttons_of_the_panel_say_what_is_missing(dataset):
    start_column()
    buttons = {button.key: button for button in labels_page().button}
    for key in ("x_labels_move", "x_labels_clear", "x_labels_select", "x_labels_drop"):
        assert buttons[key].disabled and "first" in buttons[key].help, key
