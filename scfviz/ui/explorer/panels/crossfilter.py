"""Histograms that filter: bars of columns and genes, linked both ways with the maps.

A filter is a part of the rule that is selected (see `analysis.selection.crossfilter`), so it is undone, kept and shared
like any selection, and what is drawn follows from the rule alone.
"""

from collections.abc import Mapping
from functools import cache, partial

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.analysis.selection.crossfilter import (
    Bins,
    Variable,
    bin_labels,
    bin_numbers,
    chosen_bars,
    chosen_range,
    join_filters,
    read_bars,
    split_filters,
)
from scfviz.analysis.selection.rules import Rule, rule_id
from scfviz.ui.explorer.data import Explored, title_of, unit_of
from scfviz.ui.explorer.maps.colors import EXPRESSION_UNIT
from scfviz.ui.explorer.panels import gene_list, plot_prints
from scfviz.ui.explorer.panels.groups import identity
from scfviz.ui.explorer.reporting import exports
from scfviz.ui.explorer.selection import selection_card, selections
from scfviz.ui.explorer.view import View
from scfviz.ui.frame.text import plain, plural, shorten

KEY = "x_bars"
MAX_CHARTS = 6
_FIRST = ("total_counts", "n_genes", "pct_counts_mt")
_HEIGHTS = {"cells": "Number of cells", "share": "Share (%)", "log": "Number, log scale"}


def show(view: View) -> None:
    """The histograms, and the filters that are in force."""
    variables = _choose_variables(view)
    rest, filters = split_filters(view.history.current)
    _show_parts(view, rest, filters)
    if not variables:
        st.info("Choose columns or genes above: their distributions appear here.", icon=":material/bar_chart:")
        return
    bins = {_id(variable): _bins((*identity(view), variable), variable, view.data) for variable in variables}
    _component()(
        key=KEY,
        data=_spec(view, bins, rest, filters),
        on_filter_change=partial(_apply_event, view.data, bins),
    )
    st.caption(
        f"Grey: all {plural(len(view.data.shown), 'cell')} shown. Coloured: the selected cells; pale: what the filters "
        "of the other histograms leave. Drag over numbers or click categories to filter; drag the ends of a range to "
        "change it. Filters are joined by “and”, and each is a step that can be undone."
    )
    charts = [(_title(chart.variable), _unit(chart.variable), chart) for chart in bins.values()]
    caption = f"{view.source.title}: grey all {plural(len(view.data.shown), 'cell')}"
    if view.mask is not None:
        words = shorten(view.data.describe(view.history.current), 160)
        caption += f", coloured {int(view.mask.sum()):,} selected ({words})"
    exports.offer(
        view,
        "distributions",
        _table(bins, view.mask),
        lambda kind: plot_prints.print_bars(charts, view.mask, kind, caption=f"{caption}."),
    )


def _choose_variables(view: View) -> list[Variable]:
    data = view.data
    columns = list(dict.fromkeys([*data.values, *data.labels]))
    first = [name for name in _FIRST if name in data.values] or list(data.values[:3])
    first = list(dict.fromkeys([*first, *data.labels[:1]]))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        names = st.multiselect(
            "Columns",
            columns,
            default=first,
            format_func=title_of,
            max_selections=MAX_CHARTS,
            select_all=False,
            key="x_bar_columns",
            bind="query-params",
            width=430,
        )
        asked = st.multiselect(
            "Genes",
            data.genes,
            key="x_bar_genes",
            max_selections=MAX_CHARTS,
            select_all=False,
            bind="query-params",
            width=250,
            placeholder="Add the expression of genes",
        )
        st.selectbox(
            "Height of bars",
            list(_HEIGHTS),
            format_func=_HEIGHTS.get,
            key="x_bar_height",
            bind="query-params",
            width=200,
        )
    if asked and gene_list.waits_for_store(view):
        asked = []
    variables = [("column", name) for name in names] + [("gene", gene) for gene in asked]
    if len(variables) > MAX_CHARTS:
        left_out = ", ".join(plain(_title(variable)) for variable in variables[MAX_CHARTS:])
        st.caption(f":material/warning: {MAX_CHARTS} histograms fit; left out: {left_out}.")
    return variables[:MAX_CHARTS]


def _show_parts(view: View, rest: tuple[Rule, ...], filters: Mapping[Variable, tuple[Rule, ...]]) -> None:
    """What is in force, each removed with one click; always there, so that nothing below moves."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="x-filters"):
        if view.mask is None:
            st.caption("No filter: all cells are shown alike.")
            return
        n_selected = int(view.mask.sum())
        st.caption(f"**{n_selected:,} of {plural(len(view.mask), 'cell')}** pass", width="content")
        for number, part in enumerate(rest):
            others = (*rest[:number], *rest[number + 1 :])
            _offer_removal(view.data, f"x_drop_rest_{number}", view.data.describe(part), join_filters(others, filters))
        for number, (variable, own) in enumerate(filters.items()):
            others = {other: parts for other, parts in filters.items() if other != variable}
            words = " and ".join(view.data.describe(part) for part in own)
            _offer_removal(view.data, f"x_drop_filter_{number}", words, join_filters(rest, others))


def _offer_removal(data: Explored, key: str, words: str, without: Rule | None) -> None:
    st.button(
        plain(shorten(words, 60)),
        icon=":material/close:",
        key=key,
        help="Remove this part",
        on_click=_select,
        args=(data, without),
    )


def _select(data: Explored, rule: Rule | None) -> None:
    selection_card.keep(data, selections.load(data.key).select(rule))


def _apply_event(data: Explored, bins: Mapping[str, Bins]) -> None:
    """Make what was dragged or clicked a part of the rule; nothing that a browser sends is believed."""
    sent = (st.session_state.get(KEY) or {}).get("filter")
    chart = bins.get(str(sent.get("id"))) if isinstance(sent, Mapping) else None
    if chart is None:
        return
    rest, filters = split_filters(selections.load(data.key).current)
    filters.pop(chart.variable, None)
    if places := read_bars(chart, sent.get("bars")):
        own = chart.label_rules(places) if chart.labels else chart.range_rules(places[0], places[-1])
        if own:
            filters[chart.variable] = own
    _select(data, join_filters(rest, filters))


def _spec(
    view: View, bins: Mapping[str, Bins], rest: tuple[Rule, ...], filters: Mapping[Variable, tuple[Rule, ...]]
) -> dict:
    """What the browser draws: numbers of cells in bars, and where the filters are."""
    data, where = view.data, identity(view)
    masks = {
        variable: [_mask((*where, rule_id(part)), data, part) for part in own] for variable, own in filters.items()
    }
    common = [_mask((*where, rule_id(part)), data, part) for part in rest]
    charts = []
    for name, chart in bins.items():
        other = [mask for variable, own in masks.items() if variable != chart.variable for mask in own]
        passing = np.logical_and.reduce([*common, *other]) if common or other else None
        own = filters.get(chart.variable, ())
        n_unknown = chart.n_unknown()
        note = f"{plural(n_unknown, 'cell')} without a value" if n_unknown else ""
        entry = {
            "id": name,
            "title": _title(chart.variable),
            "unit": _unit(chart.variable),
            "note": note,
            "filtered": bool(own),
            "all": chart.count().tolist(),
            "passing": [0] * chart.n_bars if view.mask is None else chart.count(passing).tolist(),
            "chosen": [0] * chart.n_bars if view.mask is None else chart.count(view.mask).tolist(),
            "n_passing": len(data.shown) if passing is None else int(passing.sum()),
        }
        if chart.labels:
            entry |= {"labels": list(chart.labels), "picked": chosen_bars(chart, own)}
        else:
            entry |= {
                "edges": chart.edges.tolist(),
                "discrete": chart.is_discrete,
                "range": _range(chart, own) if own else None,
            }
        charts.append(entry)
    return {
        "charts": charts,
        "n_all": len(data.shown),
        "n_chosen": None if view.mask is None else int(view.mask.sum()),
        "height": st.session_state["x_bar_height"],
    }


def _range(chart: Bins, own: tuple[Rule, ...]) -> list[float]:
    """Where a filter begins and ends, in numbers of borders."""
    places = np.arange(len(chart.edges), dtype=float)
    low, high = (float(np.interp(value, chart.edges, places)) for value in chosen_range(own))
    return [low, max(low, high)]


def _table(bins: Mapping[str, Bins], mask: np.ndarray | None) -> pd.DataFrame:
    """One row for each bar; cells below the first border or above the last are in the outer bars."""
    parts = []
    for chart in bins.values():
        columns = {"variable": [_title(chart.variable)] * chart.n_bars, "label": list(chart.labels) or None}
        if not chart.labels:
            columns |= {"from": chart.edges[:-1], "to": chart.edges[1:]}
        columns["n_cells"] = chart.count()
        if mask is not None:
            columns["n_selected"] = chart.count(mask)
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True).dropna(axis=1, how="all")


def _title(variable: Variable) -> str:
    return title_of(variable[1]) if variable[0] == "column" else variable[1]


def _unit(variable: Variable) -> str:
    return EXPRESSION_UNIT if variable[0] == "gene" else unit_of(variable[1])


def _id(variable: Variable) -> str:
    return ":".join(variable)


@st.cache_resource(max_entries=48, show_spinner="Counting …")
def _bins(key: tuple, variable: Variable, _data: Explored) -> Bins:
    kind, name = variable
    if kind == "gene":
        # The same numbers that a threshold is compared with, so that bars and cells agree.
        return bin_numbers(variable, np.asarray(_data.context.read_gene(name))[_data.shown])
    column = _data.column(name)
    if name not in _data.values:
        return bin_labels(name, column)
    return bin_numbers(variable, column.to_numpy(dtype=np.float64, na_value=np.nan))


@st.cache_resource(max_entries=64, show_spinner=False)
def _mask(key: tuple, _data: Explored, _rule: Rule) -> np.ndarray:
    return _data.mask(_rule)


@cache
def _component():
    """The component, found when it is first needed: its files are known only where a server runs."""
    return st.components.v2.component("scfviz.histograms", js="histograms.js", css="histograms.css")
