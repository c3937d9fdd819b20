"""What groups are made of: the cells of one label within another, as stacked bars and as a table."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.analysis.groups import Composition, Grouping, compose
from scfviz.analysis.selection.rules import Intersection, combine
from scfviz.ui.drawing import coloring
from scfviz.ui.explorer.data import Explored, title_of
from scfviz.ui.explorer.panels import plot_figures, plot_prints
from scfviz.ui.explorer.panels.groups import (
    Groups,
    categories_of,
    choose_cells,
    choose_groups,
    chosen_cells,
    identity,
    make_groups,
    rule_of,
)
from scfviz.ui.explorer.reporting import exports, shown
from scfviz.ui.explorer.selection import selection_card, selections
from scfviz.ui.explorer.view import View
from scfviz.ui.frame.text import plain, plural

_LENGTHS = {"share": "Share (%)", "cells": "Number of cells"}
_UNLABELLED = "no label"


def restore(data: Explored, choices: dict[str, Any]) -> bool:
    """Open the panel as it was where these choices were made; returns whether all of them are known here."""
    if choices["what"] not in data.labels or choices["length"] not in _LENGTHS:
        return False
    given = {
        "x_parts": choices["what"],
        "x_within": choices["by"],
        "x_length": choices["length"],
        "x_composition_cells": chosen_cells(choices["only_selected"]),
    }
    st.session_state.update(given)
    shown.remember(data, "composition", **choices)
    return True


def show(view: View) -> None:
    """Ask what the bars and their pieces are, and show them."""
    labels = list(view.data.labels)
    if not labels:
        st.info("The file has no column of labels, so there is nothing that groups could be made of.")
        return
    if st.session_state.get("x_parts") not in labels:
        st.session_state.pop("x_parts", None)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        what = st.selectbox("Show", labels, format_func=title_of, key="x_parts", bind="query-params", width=230)
        by = choose_groups(view, "x_within", "within each", default=1)
        length = st.segmented_control(
            "Length",
            list(_LENGTHS),
            format_func=_LENGTHS.get,
            default="share",
            required=True,
            key="x_length",
            bind="query-params",
            width="content",
        )
        only_selected = choose_cells(view, "x_composition_cells", by)
    shown.remember(view.data, "composition", what=what, by=by, length=length, only_selected=only_selected)
    groups = make_groups(view, by, only_selected=only_selected)
    if not groups.grouping.names:
        st.info("No cell takes part: the selection is empty.", icon=":material/lasso_select:")
        return
    parts, found, colors = count_parts(view, what, groups)
    shares = length == "share"
    st.plotly_chart(
        plot_figures.draw_composition(
            found,
            groups.counted_names,
            colors,
            shares=shares,
            what=title_of(what),
            dark=st.context.theme.type == "dark",
        ),
        key="x_composition_figure",
        on_select=lambda: _choose(view, what, by, groups, parts, found, only_selected),
        selection_mode="points",
        config={"displayModeBar": False},
        alt=f"Stacked bars: {title_of(what)} within {groups.title}.",
    )
    counted = f"{int(found.counts.sum()):,} of {plural(len(view.data.shown), 'cell')}"
    notes = groups.notes(unlabelled=by != what)
    if parts.n_grouped:
        notes.append(f"The smallest {parts.n_grouped} groups of {plain(title_of(what))} are one piece.")
    if _UNLABELLED in found.parts:
        n = int(found.counts[:, found.parts.index(_UNLABELLED)].sum())
        notes.append(f"{plural(n, 'cell')} without a value of {plain(title_of(what))} are the grey piece.")
    st.caption(" ".join([f"{counted} in {plural(len(found.rows), 'bar')}.", *notes, "Click a piece to select it."]))
    caption = f"{view.source.title}: {title_of(what)} within {groups.title}, {counted}."
    table = as_table(found)
    exports.offer(
        view,
        "composition",
        table,
        lambda kind: plot_prints.print_composition(
            found, groups.counted_names, colors, kind, shares=shares, what=title_of(what), caption=caption
        ),
    )
    wide = _wide(found, shares)
    forms = {name: st.column_config.NumberColumn(format="%.1f %%" if shares else "localized") for name in wide}
    st.dataframe(
        wide,
        height="content" if len(wide) < 9 else 330,
        key="x_composition_table",
        column_config=forms | {"Cells": st.column_config.NumberColumn(format="localized")},
    )


def count_parts(view: View, what: str, groups: Groups) -> tuple[coloring.Labels, Composition, list[str]]:
    """The pieces as the map names them, how many cells of each are in each group, and the colours of those that are."""
    parts = _parts((*identity(view), what), view, what)
    return parts, *_compose(groups, Grouping(parts.names, parts.codes), parts.colors)


@st.cache_resource(max_entries=24, show_spinner=False)
def _parts(key: tuple, _view: View, what: str) -> coloring.Labels:
    """The pieces, in the names and colours of the map."""
    return _view.data.groups(what)


def _compose(groups: Groups, parts: Grouping, colors: tuple[str, ...]) -> tuple[Composition, list[str]]:
    """The composition without pieces that no bar has."""
    found = compose(groups.grouping, parts)
    used = np.flatnonzero(found.counts.sum(axis=0))
    names = tuple(found.parts[i] for i in used)
    kept = Composition(found.rows, names, found.counts[:, used], found.fractions[:, used])
    return kept, [colors[i] for i in used]


def _choose(
    view: View, what: str, by: str, groups: Groups, parts: coloring.Labels, found: Composition, within: bool
) -> None:
    """Select the cells of a piece; where only selected cells are shown, among these."""
    points = st.session_state["x_composition_figure"].selection.points
    details: Any = points[0].get("customdata") if points else None
    if not details:
        return
    row, part = (int(number) for number in details[-2:])
    in_part = parts.codes == parts.names.index(found.parts[part])
    own = categories_of(view.data, what, in_part)
    rule = own if by == what else Intersection((rule_of(view, by, groups, row), own))
    history = selections.load(view.data.key)
    if within:
        rule = combine("intersect", history.current, rule)
    selection_card.keep(view.data, history.select(rule))


def as_table(found: Composition) -> pd.DataFrame:
    """One row for each bar and piece, for a file."""
    n = len(found.parts)
    return pd.DataFrame(
        {
            "group": np.repeat(np.array(found.rows, object), n),
            "part": np.tile(np.array(found.parts, object), len(found.rows)),
            "n_cells": found.counts.ravel(),
            "fraction": found.fractions.ravel(),
            "n_cells_of_group": np.repeat(found.counts.sum(axis=1), n),
        }
    )


def _wide(found: Composition, shares: bool) -> pd.DataFrame:
    """One row for each bar, as the picture shows it."""
    values = 100 * found.fractions if shares else found.counts
    columns = {"Cells": found.counts.sum(axis=1)}
    for name, numbers in zip(found.parts, values.T, strict=True):
        while name in columns:  # a part may be called like the column beside it
            name += " "
        columns[name] = numbers
    return pd.DataFrame(columns, index=pd.Index(list(found.rows), name="Group"))
