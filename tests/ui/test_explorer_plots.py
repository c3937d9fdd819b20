"""Plots, composition and crossfilter of the explorer: every number is that of the same cells, counted once."""

import json
import os
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import test_explorer as explorer
from datasets import some_genes
from effort import sorts
from streamlit.components.v2.bidi_component.main import _make_trigger_id
from streamlit.proto.WidgetStates_pb2 import WidgetState
from test_explorer import LEFT, N, act, check, n_selected, name_selection, open_page, source, text_of

from scfviz import jobs
from scfviz.analysis.expression import AlignedExpression
from scfviz.analysis.groups import (
    compose,
    group_cells,
    keep_largest,
    order_by_similarity,
    suggest_genes,
    violin_table,
    violins_of,
)
from scfviz.analysis.labels.labels import start_annotation
from scfviz.analysis.selection.crossfilter import (
    bin_labels,
    bin_numbers,
    chosen_bars,
    join_filters,
    read_bars,
    split_filters,
)
from scfviz.analysis.selection.history import SelectionHistory
from scfviz.analysis.selection.rules import (
    Categories,
    Intersection,
    Invert,
    Polygon,
    SelectionContext,
    Threshold,
    Union,
    evaluate,
)
from scfviz.data.gene_index import GeneIndex
from scfviz.data.vocabulary import load_vocabulary
from scfviz.errors import GeneError
from scfviz.jobs.labels import change_labels, start_labels
from scfviz.ui.drawing import coloring
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer.maps.colors import Chosen
from scfviz.ui.explorer.panels import composition, crossfilter, gene_list, groups, plot_figures, plot_prints
from scfviz.ui.explorer.selection import selections
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import describe

dataset = explorer.dataset
GENES = [some_genes()[i] for i in (7, 30, 2)]
HOSTILE = "<b>T</b> *x*"


@pytest.fixture
def expression(dataset) -> pd.DataFrame:
    """ln(1 + counts per 10,000) of the genes, with the table of the cells."""
    open_page()
    data = explorer_data.explore(source(), None, None)
    values = {gene: explorer_data.gene_values(source(), data, gene, None).astype(float) for gene in GENES}
    return pd.DataFrame(values, index=data.obs.index).join(data.obs)


def plots_page(*, selected=False, **choices):
    app = open_page({"x_panel": "plots", "x_plot_genes": GENES} | {f"x_plot_{k}": v for k, v in choices.items()})
    return act(app, kind="lasso", map="X_umap", polygon=LEFT) if selected else app


def figure_of(app) -> dict:
    return json.loads(app.get("plotly_chart")[-1].proto.spec)


def bars_of(app) -> dict:
    spec = next(e.proto for e in app.get("bidi_component") if e.proto.component_name == "scfviz.histograms")
    return {chart["id"]: chart for chart in json.loads(spec.json)["charts"]}


def send(app, chart: str, bars):
    """What a browser sends when bars are dragged over or clicked."""
    spec = next(e.proto for e in app.get("bidi_component") if e.proto.component_name == "scfviz.histograms")
    states = app._tree.get_widget_states()
    sent = json.dumps([{"event": "filter", "value": {"id": chart, "bars": bars}}])
    states.widgets.append(WidgetState(id=_make_trigger_id(spec.id, "events"), json_trigger_value=sent))
    return check(app._run(states))


def rule_of(app):
    return app.session_state[selections._key(explorer_data.explore(source(), None, None).dataset)].current


def view_of(rule=None, named=()) -> View:
    data = explorer_data.explore(source(), None, None)
    history = SelectionHistory()
    for name, kept in named:
        history = history.select(kept).keep(name, int(data.mask(kept).sum()), N)
    history = history.select(rule)
    nothing = coloring.Values("none", "", np.zeros(N, np.float32), 0, 1)
    return View(
        source(), data, None, None, Chosen([], nothing, None), history, None if rule is None else data.mask(rule)
    )


@pytest.mark.parametrize("kind", ["dots", "violins", "heatmap"])
@pytest.mark.parametrize("selected", [False, True])
def test_numbers_are_those_of_the_same_cells_whatever_the_picture(expression, kind, selected):
    app = plots_page(kind=kind, by="doublet", cells="selected" if selected else "all", selected=selected)
    kept = expression[expression["cell_type"] == "B"] if selected else expression
    table = app.dataframe[-1].value
    grouped = kept.groupby("doublet")
    assert len(table) == len(GENES) * grouped.ngroups
    for row in table.itertuples():
        values = grouped.get_group(row.group == "True")[row.gene]
        assert row.n_cells == len(values)
        assert row.mean == pytest.approx(values.mean(), rel=1e-5)
        assert row.fraction == pytest.approx((values > 0).mean())
        if kind == "violins":
            assert row.median == pytest.approx(values.median(), rel=1e-5, abs=1e-6)
    assert f"{len(kept)} of 120 cells in 2 groups" in text_of(app)


def test_dot_plot_violins_and_composition_count_the_same_cells(expression):
    counts = {}
    for kind in ("dots", "violins", "heatmap"):
        table = plots_page(kind=kind, by="sample").dataframe[-1].value
        counts[kind] = table.drop_duplicates("group").set_index("group")["n_cells"].sort_index()
    app = open_page({"x_panel": "composition", "x_parts": "cell_type", "x_within": "sample"})
    counts["composition"] = app.dataframe[-1].value["Cells"].sort_index()
    for other in ("violins", "heatmap", "composition"):
        assert counts[other].tolist() == counts["dots"].tolist()
    assert counts["dots"].sum() == 60 and "60 of 120 cells: more could not be read" in text_of(app)


def test_scaled_values_are_those_of_the_groups_that_are_drawn(expression):
    table = plots_page(kind="heatmap", by="cell_type", value="z").dataframe[-1].value
    means = expression.groupby("cell_type", observed=True)[GENES].mean()
    expected = (means - means.mean()) / means.std(ddof=0)
    for row in table.itertuples():
        assert row.z == pytest.approx(expected.loc[row.group, row.gene], rel=1e-4)
    scaled = plots_page(kind="dots", by="cell_type", value="scaled").dataframe[-1].value["scaled"]
    assert sorted(scaled.unique()) == [0, 1]


def test_names_from_files_stay_text_in_every_picture(dataset):
    for kind in ("dots", "violins", "heatmap"):
        figure = json.dumps(figure_of(plots_page(kind=kind, by="cell_type")))
        assert "<b>T" not in figure and "&lt;b&gt;T&lt;/b&gt; *x*" in figure
    app = open_page({"x_panel": "composition", "x_parts": "cell_type", "x_within": "doublet"})
    figure = json.dumps(figure_of(app))
    assert "<b>T" not in figure and "&lt;b&gt;T&lt;/b&gt; *x*" in figure
    assert HOSTILE in app.dataframe[-1].value.columns


def test_groups_can_be_what_is_selected_or_named(expression):
    app = act(open_page({"x_panel": "plots", "x_plot_genes": GENES}), kind="lasso", map="X_umap", polygon=LEFT)
    check(app.selectbox(key="x_plot_by").set_value("(selection)").run())
    table = app.dataframe[-1].value.set_index(["group", "gene"])
    left = expression[expression["cell_type"] == "B"]
    assert table.loc[("selected", GENES[0]), "mean"] == pytest.approx(left[GENES[0]].mean(), rel=1e-5)
    assert table["n_cells"].groupby("group").first().to_dict() == {"selected": 40, "not selected": 80}
    name_selection(app, "left")
    check(app.selectbox(key="x_plot_by").set_value("(named)").run())
    assert app.dataframe[-1].value["n_cells"].unique().tolist() == [40, 80]


def test_cells_of_several_named_selections_are_counted_once(dataset):
    open_page()
    b, doublets = Categories("cell_type", ("B",)), Categories("doublet", (True,))
    view = view_of(named=[("B cells", b), ("pairs", doublets), ("all", Union((b, Invert(b))))])
    found = groups.make_groups(view, "(named)")
    assert found.grouping.names == ("all", "B cells + all", "B cells + pairs + all")
    assert found.grouping.n_cells.tolist() == [80, 20, 20]
    for group in range(3):  # a piece of the composition selects exactly its cells
        rule = groups.rule_of(view, "(named)", found, group)
        assert (view.data.mask(rule) == (found.grouping.codes == group)).all()


def test_genes_are_pasted_by_any_name_and_unknown_ones_are_named(dataset):
    assert gene_list.split_names('CD3D, "MS4A1"\n\tNKG7;; x') == ["CD3D", "MS4A1", "NKG7", "x"]
    measured = set(some_genes())
    missing = next(symbol for symbol in load_vocabulary().symbols if symbol not in measured)
    index = GeneIndex.of_model(sorted(measured))
    genes, errors = gene_list.find_genes([GENES[0], "no <gene>", missing, GENES[0], GENES[1]], index)
    assert genes == GENES[:2] and list(errors) == ["no <gene>", missing] and "not measured" in errors[missing].found
    app = open_page({"x_panel": "plots"})
    assert "Choose genes above" in text_of(app)
    app.text_area(key="x_paste_text").set_value(f"{GENES[0]} no*gene\n{missing}")
    check(next(button for button in app.button if button.label == "Add").click().run())
    assert app.dataframe[-1].value["gene"].unique().tolist() == GENES[:1]
    text = text_of(app)
    assert "1 name without a gene here: no\\*gene" in text and f"not measured in this dataset: {missing}" in text


def test_suggested_genes_mark_their_groups(dataset):
    """The first gene of the fixture is expressed by the cells of type B alone."""
    app = open_page({"x_panel": "plots"})
    check(app.button(key="x_suggest").click().run())
    table = app.dataframe[-1].value.set_index(["group", "gene"])["mean"]
    genes = table.loc["B"].index.tolist()
    assert GENES[0] in genes and 2 <= len(genes) <= 6
    assert all(table["B"][gene] != table[HOSTILE][gene] for gene in genes)
    counts = AlignedExpression(describe.open_dataset(source(), None).counts)
    grouping = group_cells(explorer_data.explore(source(), None, None).obs["cell_type"])
    found, n = suggest_genes(counts, grouping, per_group=1, most_cells=60)
    assert n == 60 and found[-1] == GENES[0] and len(found) == 2
    assert suggest_genes(counts, group_cells(pd.Series(["x"] * N))) == ([], 0)


def test_more_genes_than_can_be_read_are_said(dataset):
    app = open_page({"x_panel": "plots", "x_plot_genes": some_genes()[:60]})
    assert app.dataframe[-1].value["gene"].nunique() == 50
    assert "The first 50 of 60 genes are drawn" in text_of(app)


def test_composition_is_a_cross_table_and_says_who_has_no_label(dataset):
    open_page()
    column = pd.Series(pd.Categorical(["a", None, "b", "a"], ["b", "a"]))
    found = compose(group_cells(column), group_cells(pd.Series(["x", "y", "x", "x"])))
    assert found.rows == ("b", "a", "missing") and found.counts.tolist() == [[1, 0], [2, 0], [0, 1]]
    app = open_page({"x_panel": "composition", "x_parts": "cell_type", "x_within": "doublet", "x_length": "cells"})
    data = explorer_data.explore(source(), None, None)
    expected = pd.crosstab(data.obs["doublet"], data.obs["cell_type"])
    table = app.dataframe[-1].value
    for name in expected:
        assert table[name].tolist() == expected[name].tolist()
    made = groups.make_groups(view_of(Categories("doublet", (True,))), "cell_type", only_selected=True)
    assert made.grouping.names == ("B",) and made.grouping.n_cells.tolist() == [20]


def test_a_piece_of_the_composition_selects_its_cells(dataset, monkeypatch):
    open_page()
    view = view_of(Polygon("X_umap", tuple(map(tuple, LEFT))))
    saved = []
    monkeypatch.setattr(composition.selection_card, "keep", lambda data, history: saved.append(history.current))
    monkeypatch.setattr(composition.selections, "load", lambda name: view.history)
    made = groups.make_groups(view, "doublet")
    parts = composition._parts(("test",), view, "cell_type")
    found, _ = composition._compose(made, group_cells(view.data.obs["cell_type"]), parts.colors)
    names = [parts.names[i] for i in range(2)]
    found = compose(made.grouping, groups.Grouping(tuple(names), parts.codes))
    for row in range(2):
        for part in range(2):
            point = {"customdata": [1, 1, row, part]}
            state = {"x_composition_figure": type("S", (), {"selection": type("P", (), {"points": [point]})})}
            monkeypatch.setattr(composition.st, "session_state", state)
            composition._choose(view, "cell_type", "doublet", made, parts, found, False)
            assert view.data.mask(saved[-1]).sum() == found.counts[row, part]


def test_labels_that_change_change_the_groups(dataset):
    """Groups are remembered; a label that somebody gives meanwhile must not be hidden by that."""
    app = open_page({"x_panel": "composition", "x_parts": "doublet", "x_within": "mine"})
    data = explorer_data.explore(source(), None, None)
    annotation = start_annotation("mine", data.context.obs, column="cell_type")
    start_labels(jobs.Workspace(), data.dataset, annotation, data.obs)
    app = open_page({"x_panel": "composition", "x_parts": "doublet", "x_within": "mine"})
    assert app.dataframe[-1].value["Cells"].to_dict() == {HOSTILE: 80, "B": 40}
    doublets = data.context.obs["doublet"].to_numpy()
    change_labels(jobs.Workspace(), data.dataset, "mine", lambda kept: kept.assign(doublets, "pair"))
    check(app.run())
    assert app.dataframe[-1].value["Cells"].to_dict() == {HOSTILE: 80, "B": 20, "pair": 20}


# Crossfilter


def table(n: int = 500) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "value": np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(size=n)),
            "number": rng.integers(0, 9, n),
            "type": pd.Categorical(rng.choice(["a", "b", "10", "2", None], n)),
            "flag": rng.random(n) < 0.5,
        }
    )


@pytest.mark.parametrize(
    "values",
    [
        table()["value"],
        table()["number"],
        np.append(np.random.default_rng(0).normal(size=999), 1e9),
        np.random.default_rng(0).integers(0, 10**12, 500),
        np.full(40, 3.5),
        np.where(np.arange(90) == 3, np.inf, np.arange(90) / 7),
    ],
)
def test_a_range_of_bars_holds_exactly_the_cells_in_them(values):
    values = np.asarray(values, float)
    bins = bin_numbers(("column", "v"), values)
    assert bins.count().sum() + bins.n_unknown() == len(values) and bins.n_unknown() == (~np.isfinite(values)).sum()
    assert (np.diff(bins.edges) > 0).all() and bins.n_bars <= 60
    context = SelectionContext(pd.DataFrame({"v": values}))
    for first, last in ((0, 0), (1, max(1, bins.n_bars // 2)), (max(0, bins.n_bars - 2), bins.n_bars - 1)):
        if last >= bins.n_bars:
            continue
        rules = bins.range_rules(first, last)
        inside = (bins.codes >= first) & (bins.codes <= last)
        chosen = evaluate(Intersection(rules), context) if rules else np.ones(len(values), bool)
        assert (chosen == inside)[np.isfinite(values)].all()


def test_bars_of_numbers_have_round_borders():
    assert bin_numbers(("column", "n"), np.array([0, 1, 1, 3])).edges.tolist() == [0, 1, 2, 3, 4]
    edges = bin_numbers(("column", "n"), np.linspace(0.013, 0.987, 300)).edges
    assert edges[0] == 0 and edges[-1] == 1 and edges[1] == 0.025
    assert bin_numbers(("column", "n"), np.full(5, np.nan)).n_bars == 0


def test_bars_of_categories_name_what_rules_know():
    obs = table()
    context = SelectionContext(obs)
    for name in ("type", "flag"):
        bins = bin_labels(name, obs[name])
        assert bins.count().sum() == len(obs)
        for bar in range(bins.n_bars):
            (rule,) = bins.label_rules([bar])
            assert (evaluate(rule, context) == (bins.codes == bar)).all()
            assert chosen_bars(bins, [rule]) == [bar]
    assert bin_labels("type", obs["type"]).labels == ("2", "10", "a", "b", "no label")
    few = bin_labels("type", obs["type"], most=3)
    assert few.n_bars == 3 and few.labels[-1] == "3 smaller ones" and few.count().sum() == len(obs)
    (rule,) = few.label_rules([2])
    assert (evaluate(rule, context) == (few.codes == 2)).all()
    assert few.label_rules([0, 1, 2]) == () == few.label_rules([])
    assert read_bars(few, [2, 0, 0, 7, -1, "1", True, None, 1.0]) == (0, 1, 2) and read_bars(few, "12") == ()


def test_a_rule_is_its_filters_and_the_rest():
    obs = table()
    context = SelectionContext(obs, {"m": np.random.default_rng(1).normal(size=(len(obs), 2))})
    lasso = Polygon("m", ((-1.0, -1.0), (1.0, -1.0), (0.0, 2.0)))
    low, high = Threshold("column", "value", ">=", 0.5), Threshold("column", "value", "<", 2.0)
    kind, equal = Categories("type", ("a", None)), Threshold("column", "number", "!=", 3)
    for rule in (
        None,
        low,
        lasso,
        Intersection((lasso, Intersection((low, kind)), high, equal)),
        Intersection((kind, Categories("type", ("b", "a")))),
        Invert(low),
        Union((low, kind)),
    ):
        rest, filters = split_filters(rule)
        joined = join_filters(rest, filters)
        assert joined is rule is None or (evaluate(joined, context) == evaluate(rule, context)).all()
        assert split_filters(joined) == (rest, filters)
    rest, filters = split_filters(Intersection((lasso, low, kind, high)))
    assert rest == (lasso,) and filters == {("column", "value"): (low, high), ("column", "type"): (kind,)}


def test_filters_are_the_boolean_mask_and_undo_brings_the_bars_back(dataset):
    gene = GENES[0]
    app = open_page(
        {"x_panel": "distributions", "x_bar_columns": ["score", "cell_type", "doublet"], "x_bar_genes": [gene]}
    )
    data = explorer_data.explore(source(), None, None)
    before = bars_of(app)
    assert list(before) == ["column:score", "column:cell_type", "column:doublet", f"gene:{gene}"]
    assert before["column:score"]["note"] == "12 cells without a value" and not any(before["column:score"]["chosen"])

    send(app, "column:doublet", [0])
    assert n_selected(app) == 100 and not data.mask(rule_of(app))[data.obs["doublet"]].any()
    edges = before["column:score"]["edges"]
    middle = len(edges) // 2
    send(app, "column:score", [middle, len(edges) - 2])
    score, singlet = data.obs["score"].to_numpy(), ~data.obs["doublet"].to_numpy()
    assert n_selected(app) == (singlet & (score >= edges[middle])).sum()
    bars = bars_of(app)
    # Each histogram shows the cells that pass all other filters, and the selected ones within.
    assert sum(bars["column:doublet"]["passing"]) == (score >= edges[middle]).sum()
    assert sum(bars["column:score"]["passing"]) == np.isfinite(score[singlet]).sum()
    assert sum(bars["column:cell_type"]["passing"]) == sum(bars["column:cell_type"]["chosen"]) == n_selected(app)
    assert bars["column:score"]["range"] == [middle, len(edges) - 1] and bars["column:doublet"]["picked"] == [0]

    check(app.button(key="x_undo").click().run())
    bars = bars_of(app)
    assert bars["column:score"]["range"] is None and bars["column:doublet"]["picked"] == [0] and n_selected(app) == 100
    check(app.button(key="x_undo").click().run())
    assert bars_of(app) == before
    check(app.button(key="x_redo").click().run())
    check(app.button(key="x_redo").click().run())
    assert bars_of(app)["column:score"]["filtered"] and n_selected(app) == (singlet & (score >= edges[middle])).sum()

    check(app.button(key="x_drop_filter_0").click().run())
    assert not bars_of(app)["column:doublet"]["filtered"] and n_selected(app) == (score >= edges[middle]).sum()
    send(app, "column:score", None)
    assert rule_of(app) is None and bars_of(app) == before


def test_a_filter_joins_what_was_drawn_and_a_legend_entry_is_a_filter(dataset):
    app = open_page({"x_panel": "distributions", "x_bar_columns": ["cell_type"], "x_bar_genes": GENES[:1]})
    act(app, kind="lasso", map="X_umap", polygon=LEFT)
    labels = bars_of(app)["column:cell_type"]["labels"]
    assert set(labels) == {"B", HOSTILE} and bars_of(app)["column:cell_type"]["chosen"][labels.index("B")] == 40
    send(app, "column:cell_type", [labels.index(HOSTILE)])
    assert n_selected(app) == 0 and isinstance(rule_of(app), Intersection)
    check(app.button(key="x_drop_rest_0").click().run())
    assert n_selected(app) == 80 and rule_of(app) == Categories("cell_type", (HOSTILE,))
    assert "\\<b\\>T" in app.button(key="x_drop_filter_0").label
    # The gene that only cells on the left express: its first bar are the others.
    chart = f"gene:{GENES[0]}"
    send(app, "column:cell_type", None)
    send(app, chart, [0, 0])
    assert n_selected(app) == 80 and bars_of(app)[chart]["unit"].startswith("ln(1")
    act(app, kind="category", code=explorer.spec_of(app)["colors"]["names"].index("B"))
    assert bars_of(app)["column:cell_type"]["picked"] == [labels.index("B")]
    assert not bars_of(app)[chart]["filtered"]


def test_nothing_that_a_browser_sends_is_believed(dataset):
    app = open_page({"x_panel": "distributions", "x_bar_columns": ["score", "cell_type"]})
    for chart, bars in (
        ("column:nothing", [0]),
        ("column:score", ["x", 10**9]),
        ("column:cell_type", {"a": 1}),
        (None, 3),
    ):
        send(app, chart, bars)
        assert rule_of(app) is None


def test_bars_of_many_cells_are_counted_in_no_time():
    bins = bin_numbers(("column", "v"), np.random.default_rng(0).normal(size=300_000))
    mask = bins.codes % 3 == 0
    assert sorts(lambda: [bins.count(mask) for _ in range(18)]) < 2  # six histograms with three layers


COMPONENT = Path(crossfilter.__file__).parents[2] / "components" / "histograms"
EVIL = "<img src=x onerror='window.hurt = 1'>"


@pytest.fixture
def histograms():
    """The bars in a real browser, without a server: `show` draws a description, `sent` is what came back."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing; CI must run every test")
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 900, "height": 500})
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.set_content("<div id='here'></div>")
        page.add_style_tag(content=(COMPONENT / "histograms.css").read_text(encoding="utf-8"))
        page.evaluate(
            """async (source) => {
              const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
              const { default: render } = await import(url);
              window.sent = [];
              const setTriggerValue = (name, value) => window.sent.push([name, value]);
              window.show = (data) => {
                window.leave = render({ data, parentElement: document.getElementById("here"), setTriggerValue });
              };
            }""",
            (COMPONENT / "histograms.js").read_text(encoding="utf-8"),
        )
        yield page
        browser.close()
        assert not errors


def charts(**changes) -> dict:
    numbers = {
        "id": "column:v",
        "title": EVIL,
        "unit": "units",
        "note": EVIL,
        "filtered": False,
        "n_passing": 55,
        "all": list(range(1, 11)),
        "passing": [0] * 10,
        "chosen": [0] * 10,
        "edges": list(range(0, 110, 10)),
        "discrete": False,
        "range": None,
    }
    types = {
        "id": "column:t",
        "title": "type",
        "unit": "",
        "note": "",
        "filtered": False,
        "n_passing": 55,
        "all": [50, 5],
        "passing": [0, 0],
        "chosen": [0, 0],
        "labels": [EVIL, "B"],
        "picked": [],
    }
    return {"charts": [numbers | changes, types], "n_all": 55, "n_chosen": None, "height": "cells"}


def test_dragging_clicking_and_keys_ask_for_the_bars_they_show(histograms):
    page = histograms
    page.evaluate("show", charts())
    box = page.locator(".plot").bounding_box()

    def drag(start, stop):
        y = box["y"] + 70
        page.mouse.move(box["x"] + start * box["width"], y)
        page.mouse.down()
        page.mouse.move(box["x"] + stop * box["width"], y, steps=5)
        page.mouse.up()
        return page.evaluate("window.sent.at(-1)")

    assert drag(0.25, 0.55) == ["filter", {"id": "column:v", "bars": [2, 5]}]
    assert page.locator(".range").first.inner_text() == "20 to 60 units"
    page.evaluate("show", charts(filtered=True, range=[2, 6]))
    assert drag(0.4, 0.6) == ["filter", {"id": "column:v", "bars": [4, 7]}], "a range moves as a whole"
    page.evaluate("show", charts(filtered=True, range=[4, 8]))
    assert drag(0.8, 0.95)[1]["bars"] in ([4, 8], [4, 9]), "its end moves alone"
    page.get_by_role("button", name="Remove the filter on").click()
    assert page.evaluate("window.sent.at(-1)[1].bars") is None
    page.evaluate("show", charts())
    lowest = page.get_by_role("slider").first
    lowest.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(600)
    assert page.evaluate("window.sent.at(-1)") == ["filter", {"id": "column:v", "bars": [2, 9]}]
    page.get_by_role("button", name="B 5", exact=False).click()
    assert page.evaluate("window.sent.at(-1)") == ["filter", {"id": "column:t", "bars": [1]}]
    # A long name is cut in its middle: sorted cells are often told apart by their ending alone.
    page.set_viewport_size({"width": 330, "height": 500})
    name = page.locator(".rows .name").first
    cut, ending, right = name.evaluate(
        "name => [name.children[0].scrollWidth > name.children[0].clientWidth, name.children[1].textContent,"
        " name.getBoundingClientRect().right - name.children[1].getBoundingClientRect().right]"
    )
    assert name.text_content() == EVIL and cut and ending == EVIL[-7:] and right >= -1
    # Nothing from the file became markup, and what is gone leaves nothing behind.
    assert page.locator(".title").first.inner_text() == EVIL and not page.locator("#here img").count()
    assert page.evaluate("window.hurt") is None
    page.evaluate("leave()")
    assert page.locator("#here").inner_html() == ""


# Figures to keep


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_figures_for_print_say_what_they_show(dataset, kind):
    open_page()
    view = view_of()
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, N)
    names = [f"<g> $a_b$ {i} (n = 3)" for i in range(3)]
    violins = [v for gene in GENES for v in violins_of(rng.random(N), gene, names, codes)]
    summary = plot_figures.GroupSummary(
        tuple(GENES), tuple(names), np.full(3, 40), rng.random((3, 3)), rng.random((3, 3))
    )
    made = compose(group_cells(view.data.obs["doublet"]), group_cells(view.data.obs["cell_type"]))
    bins = [
        ("A $title$", "units", bin_numbers(("column", "v"), rng.random(N))),
        ("Types", "", bin_labels("cell_type", view.data.obs["cell_type"])),
    ]
    caption = "700 cells; $x_1$ by type"
    pictures = [
        plot_prints.print_grid(summary, summary.mean, names, "mean", kind, diverging=d, dots=not d, caption=caption)
        for d in (False, True)
    ]
    pictures.append(plot_prints.print_violins(violins, names, ["#112233"] * 3, kind, caption=caption))
    pictures.append(
        plot_prints.print_composition(
            made, names[:2], ["#112233", "#445566"], kind, shares=True, what="$t$", caption=caption
        )
    )
    pictures.append(plot_prints.print_bars(bins, np.arange(N) % 2 == 0, kind, caption=caption))
    for content in pictures:
        if kind == "png":
            assert content.startswith(b"\x89PNG") and len(content) > 5_000
        else:
            assert caption in " ".join("".join(ElementTree.fromstring(content).itertext()).split())
    assert len(violin_table(violins)) == 9


def test_the_numbers_behind_the_histograms_are_those_of_the_bars(dataset):
    open_page()
    view = view_of(Categories("cell_type", ("B",)))
    bins = {name: crossfilter._bins((name,), ("column", name), view.data) for name in ("score", "cell_type")}
    numbers = crossfilter._table(bins, view.mask)
    types = numbers[numbers["variable"] == "cell_type"].set_index("label")
    assert types.loc["B", "n_cells"] == types.loc["B", "n_selected"] == 40 and types.loc[HOSTILE, "n_selected"] == 0
    scores = numbers[numbers["variable"] == "score"]
    assert scores["n_cells"].sum() == N - 12 and (scores["from"] < scores["to"]).all()


def test_similar_rows_become_neighbours():
    rows = np.array([[0.0, 0], [10, 10], [0.1, 0], [10, 9.9], [5, 5]])
    order = order_by_similarity(rows).tolist()
    assert sorted(order) == [0, 1, 2, 3, 4] and abs(order.index(0) - order.index(2)) == 1
    assert abs(order.index(1) - order.index(3)) == 1
    assert order_by_similarity(rows[:2]).tolist() == [0, 1]


def test_the_largest_groups_are_kept_in_their_order():
    grouping = group_cells(pd.Series(list("aabcccd")))
    kept = keep_largest(grouping, 2)
    assert kept.names == ("a", "c") and kept.codes.tolist() == [0, 0, -1, 1, 1, 1, -1]
    assert keep_largest(grouping, 9) is grouping


def test_a_gene_of_a_filter_that_is_not_there_is_explained(dataset):
    open_page()
    with pytest.raises(GeneError):
        view_of(Threshold("gene", "NOT_A_GENE", ">", 1.0))
