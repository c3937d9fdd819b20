"""How genes are expressed in groups of cells: dot plot, violins or heatmap, and the numbers behind the picture."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.analysis.expression import AlignedExpression
from scfviz.analysis.groups import (
    Grouping,
    GroupSummary,
    Violin,
    make_violins,
    order_by_similarity,
    suggest_genes,
    summarise_groups,
    violin_table,
)
from scfviz.ui.drawing import palette
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer.data import Explored
from scfviz.ui.explorer.panels import compare, gene_list, plot_figures, plot_prints
from scfviz.ui.explorer.panels.groups import Groups, choose_cells, choose_groups, chosen_cells, make_groups
from scfviz.ui.explorer.reporting import exports, shown
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import describe, state
from scfviz.ui.frame.text import plural

if TYPE_CHECKING:
    import plotly.graph_objects as go

MAX_GENES = 50
_KINDS = {"dots": "Dot plot", "violins": "Violins", "heatmap": "Heatmap"}
_VALUES = {"mean": "Mean", "scaled": "0 to 1 per gene", "z": "z-score per gene"}
VALUE_TITLES = {
    "mean": plot_figures.UNIT,
    "scaled": "mean, 0 lowest to 1 highest group of each gene",
    "z": "mean, standard deviations of groups of each gene",
}
_ORDERS = {"listed": "As listed", "groups": "Similar groups together", "both": "Similar groups and genes together"}
_TABLE = {
    "group": st.column_config.TextColumn("Group"),
    "gene": st.column_config.TextColumn("Gene"),
    "n_cells": st.column_config.NumberColumn("Cells", help="Cells of the group; all of them are in the mean"),
    "mean": st.column_config.NumberColumn("Mean", format="%.3f", help="of ln(1 + counts per 10,000)"),
    "fraction": st.column_config.NumberColumn("Express it", format="percent", help="Share of cells with any count"),
}
_QUANTILES = {
    "lowest": "Lowest",
    "quarter": "1st quartile",
    "median": "Median",
    "three_quarters": "3rd quartile",
    "highest": "Highest",
}
_SCALED = {"scaled": "0 to 1", "z": "z-score"}
_TABLE |= {
    name: st.column_config.NumberColumn(title, format="%.3f", help=of)
    for titles, of in ((_QUANTILES, "of ln(1 + counts per 10,000)"), (_SCALED, "of the means of the gene"))
    for name, title in titles.items()
}


@dataclass(frozen=True)
class _Look:
    """The kind of picture, what its colours show and the order of groups and genes; keys of the tables above."""

    kind: str
    scaling: str
    order: str


@dataclass(frozen=True)
class _Picture:
    """What a chosen kind of picture shows: on the screen, as numbers, and for print as "svg" or "png"."""

    figure: "go.Figure"
    table: pd.DataFrame
    draw: Callable[[str, str], bytes]


def show(view: View) -> None:
    """Ask for genes and groups, and show them."""
    genes = gene_list.choose_genes(view)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        by = choose_groups(view, "x_plot_by")
        if by is None:
            return
        kind = st.segmented_control(
            "Picture",
            list(_KINDS),
            format_func=_KINDS.get,
            default="dots",
            required=True,
            key="x_plot_kind",
            bind="query-params",
            width="content",
        )
        only_selected = choose_cells(view, "x_plot_cells", by)
        scaling = "mean"
        if kind != "violins":
            scaling = st.selectbox(
                "Colour", list(_VALUES), format_func=_VALUES.get, key="x_plot_value", bind="query-params", width=170
            )
        order = st.selectbox(
            "Order", list(_ORDERS), format_func=_ORDERS.get, key="x_plot_order", bind="query-params", width=270
        )
    shown.remember(
        view.data,
        "plots",
        genes=genes[:MAX_GENES],
        by=by,
        kind=kind,
        only_selected=only_selected,
        scaling=scaling,
        order=order,
    )
    if not genes:
        _say_how_to_begin(view, by)
        return
    if gene_list.waits_for_store(view):
        return
    groups = make_groups(view, by, only_selected=only_selected)
    if not groups.grouping.names:
        st.info("No cell takes part: the selection is empty.", icon=":material/lasso_select:")
        return
    _show_picture(view, genes, groups, _Look(kind, scaling, order))


def restore(data: Explored, choices: dict[str, Any]) -> bool:
    """Open the panel as it was where these choices were made; returns whether all of them are known here."""
    if not (choices["kind"] in _KINDS and choices["scaling"] in _VALUES and choices["order"] in _ORDERS):
        return False
    genes = [gene for gene in choices["genes"] if gene in data.index.position]
    given = {
        gene_list.KEY: genes,
        "x_plot_by": choices["by"],
        "x_plot_kind": choices["kind"],
        "x_plot_value": choices["scaling"],
        "x_plot_order": choices["order"],
        "x_plot_cells": chosen_cells(choices["only_selected"]),
    }
    st.session_state.update(given)
    shown.remember(data, "plots", **choices | {"genes": genes})
    return genes == choices["genes"]


def _say_how_to_begin(view: View, by: str) -> None:
    st.info(
        "Choose genes above, paste a list, or take the top of a comparison: their expression in every group "
        "appears here.",
        icon=":material/genetics:",
    )
    is_quick = view.data.context.n_obs <= explorer_data.MAX_CELLS_WITHOUT_STORE
    if is_quick and len(make_groups(view, by).grouping.names) > 1:
        st.button(
            "Suggest genes",
            icon=":material/auto_awesome:",
            key="x_suggest",
            on_click=_suggest,
            args=(view, by),
            help="For each group the genes whose mean stands highest above every other group, in a sample of 2,000 "
            "cells. A start for looking, not a test: for that, compare groups.",
        )


def _suggest(view: View, by: str) -> None:
    grouping = make_groups(view, by).grouping
    counts = AlignedExpression(describe.open_dataset(view.source, state.gene_column()).counts)
    per_group = max(1, min(3, 24 // len(grouping.names)))
    gene_list.add_genes(suggest_genes(counts, on_all_cells(view, grouping), per_group=per_group)[0])


def _show_picture(view: View, asked: list[str], groups: Groups, look: _Look) -> None:
    genes, kind, scaling = asked[:MAX_GENES], look.kind, look.scaling
    summary = _summarise((*groups.key, tuple(genes)), view, groups.grouping, genes)
    at_groups, at_genes = find_order(summary, look.order)
    summary = summary.take(at_groups, at_genes)
    names = [groups.counted_names[i] for i in at_groups]
    if kind == "violins":
        found, n = _violins((*groups.key, tuple(genes)), view, groups.grouping, genes), len(names)
        found = [found[gene * n + group] for gene in at_genes for group in at_groups]
        picture = _violin_picture(found, names, [groups.colors.get(name, palette.OTHER) for name in summary.groups])
    else:
        picture = _grid_picture(summary, names, kind, scaling)
    key = f"x_plot_{kind}_figure"
    st.plotly_chart(
        picture.figure,
        key=key,
        on_select=lambda: _choose_from_plot(key),
        selection_mode="points",
        width="stretch" if picture.figure.layout.width is None else "content",
        config={"displayModeBar": False},
        alt=f"{_KINDS[kind]} of {plural(len(genes), 'gene')} in {plural(len(names), 'group')}.",
    )
    counted = f"{len(groups.grouping.kept):,} of {plural(len(view.data.shown), 'cell')}"
    notes = groups.notes()
    if len(asked) > len(genes):
        notes.append(f"The first {len(genes)} of {len(asked):,} genes are drawn: more could not be read.")
    st.caption(
        " ".join([f"{counted} in {plural(len(names), 'group')}.", *notes, "Click a gene to see it on the maps."])
    )
    caption = (
        f"{view.source.title}: {_KINDS[kind].lower()} of {plural(len(genes), 'gene')} by {groups.title}, {counted}. "
        + (
            "Distributions of ln(1 + counts per 10,000); dots are medians, each row has its own scale."
            if kind == "violins"
            else f"Colour: {VALUE_TITLES[scaling]}."
        )
    )
    _show_numbers(view, picture, caption)


def _show_numbers(view: View, picture: _Picture, caption: str) -> None:
    exports.offer(view, "genes", picture.table, lambda form: picture.draw(form, caption))
    st.dataframe(
        picture.table,
        hide_index=True,
        height=260,
        key="x_plot_table",
        selection_mode="single-row",
        on_select=lambda: _choose_from_table(picture.table),
        column_config=_TABLE,
    )


def find_order(summary: GroupSummary, order: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions of groups and genes in the order that was asked for; similar by z-scores, so that each gene counts."""
    scores = summary.standardised()
    groups = np.arange(len(summary.groups)) if order == "listed" else order_by_similarity(scores)
    genes = order_by_similarity(scores.T) if order == "both" else np.arange(len(summary.genes))
    return groups, genes


def _grid_picture(summary: GroupSummary, names: list[str], kind: str, scaling: str) -> _Picture:
    values = {"mean": summary.mean, "scaled": summary.scaled(), "z": summary.standardised()}[scaling]
    title, diverging = VALUE_TITLES[scaling], scaling == "z"
    table = summary.as_table() if scaling == "mean" else summary.as_table().assign(**{scaling: values.ravel()})
    draw = plot_figures.draw_dots if kind == "dots" else plot_figures.draw_heatmap
    return _Picture(
        draw(summary, values, names, title, diverging=diverging, dark=_is_dark()),
        table,
        lambda form, caption: plot_prints.print_grid(
            summary, values, names, title, form, diverging=diverging, dots=kind == "dots", caption=caption
        ),
    )


def _violin_picture(violins: list[Violin], names: list[str], colors: list[str]) -> _Picture:
    return _Picture(
        plot_figures.draw_violins(violins, names, colors, dark=_is_dark()),
        violin_table(violins),
        lambda form, caption: plot_prints.print_violins(violins, names, colors, form, caption=caption),
    )


def _is_dark() -> bool:
    return st.context.theme.type == "dark"


def _choose_from_plot(key: str) -> None:
    points = st.session_state[key].selection.points
    if points:
        compare.choose_gene(str(points[0].get("text") or ""))


def _choose_from_table(table: pd.DataFrame) -> None:
    rows = st.session_state["x_plot_table"].selection.rows
    if rows:
        compare.choose_gene(str(table["gene"].iloc[rows[0]]))


@st.cache_resource(max_entries=32, show_spinner="Reading genes …")
def _summarise(key: tuple, _view: View, _grouping: Grouping, _genes: list[str]) -> GroupSummary:
    return summarise_groups(_expression(_view), _genes, on_all_cells(_view, _grouping))


@st.cache_resource(max_entries=32, show_spinner="Reading genes …")
def _violins(key: tuple, _view: View, _grouping: Grouping, _genes: list[str]) -> list[Violin]:
    return make_violins(_expression(_view), _genes, on_all_cells(_view, _grouping))


def _expression(view: View):
    return describe.expression(str(view.source.path), state.gene_column(), view.store)


def on_all_cells(view: View, grouping: Grouping) -> Grouping:
    """The groups of the shown cells as groups of the file's cells."""
    codes = np.full(view.data.context.n_obs, -1, np.int32)
    codes[view.data.shown] = grouping.codes
    return Grouping(grouping.names, codes)
