"""What is selected: what was drawn becomes a rule, rules are combined, undone and kept under names."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.errors import StreamlitAPIException

from scfviz.analysis.selection.history import SelectionHistory
from scfviz.analysis.selection.rules import Categories, Difference, Invert, Query, Rule, combine
from scfviz.ui.drawing import coloring
from scfviz.ui.drawing.cell_map import MapEvent, hidden_codes, read_event
from scfviz.ui.explorer.data import Explored, title_of
from scfviz.ui.explorer.maps.colors import Chosen
from scfviz.ui.explorer.selection import selections
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import page
from scfviz.ui.frame.text import number, plain, plural, shorten

SHORTCUTS = (("Ctrl+Z", "undo the last selection"), ("Ctrl+Shift+Z", "redo it"))
_RENAMING = "scfviz.renaming"
_HOW = {"replace": "Replace", "add": "Add", "subtract": "Subtract", "intersect": "Intersect"}


def apply_event(data: Explored, chosen: Chosen, key: str) -> SelectionHistory:
    """The selections after what the visitor did on the map."""
    history = selections.load(data.key)
    event = read_event(key)
    if event is None:
        return history
    if event.kind == "cell":
        st.session_state["x_cell"] = event.code if 0 <= event.code < len(data.shown) else None
        return history
    if event.kind == "rename":
        names = chosen.coloring.names[: chosen.coloring.n_own] if isinstance(chosen.coloring, coloring.Labels) else ()
        st.session_state[_RENAMING] = (names[event.code], event.text) if 0 <= event.code < len(names) else None
        return history
    rule = None if event.kind == "clear" else _rule_of(event, data, chosen)
    if event.kind != "clear":
        if rule is None or (event.map and event.map not in data.maps):
            return history
        if event.kind != "category" and (unseen := _hidden_groups(data, chosen, key)) is not None:
            rule = Difference(rule, unseen)
        rule = combine(event.operation, history.current, rule)
    return keep(data, history.select(rule))


def renaming() -> tuple[str, str] | None:
    """The group of the legend that just got another name, and the name."""
    return st.session_state.pop(_RENAMING, None)


def _hidden_groups(data: Explored, chosen: Chosen, key: str) -> Rule | None:
    """The groups that are switched off in the legend: a lasso does not take cells that are not seen."""
    if chosen.column is None or not isinstance(chosen.coloring, coloring.Labels):
        return None
    return _groups_of(data, chosen, np.isin(chosen.coloring.codes, hidden_codes(key, chosen.coloring)))


def _rule_of(event: MapEvent, data: Explored, chosen: Chosen) -> Rule | None:
    if event.kind != "category":
        return event.rule()
    labels, column = chosen.coloring, chosen.column
    if column is None or not isinstance(labels, coloring.Labels) or not 0 <= event.code < len(labels.names):
        return None
    cells = labels.codes == event.code
    return _groups_of(data, chosen, cells)


def _groups_of(data: Explored, chosen: Chosen, cells: np.ndarray) -> Categories | None:
    """The rule for the groups that some cells have: an entry of the legend may stand for many, or for none."""
    values = data.column(chosen.column)[cells].drop_duplicates()
    named = [None if pd.isna(v) else bool(v) if isinstance(v, bool | np.bool_) else str(v) for v in values]
    return Categories(chosen.column, tuple(named)) if named else None


def keep(data: Explored, history: SelectionHistory) -> SelectionHistory:
    """Save the history of the selection for this dataset, and return it."""
    selections.save(data.key, history)
    return selections.load(data.key)


def show_cell(data: Explored) -> None:
    """What the table says about the cell that was clicked."""
    cell = st.session_state.get("x_cell")
    if cell is None or cell >= len(data.shown):
        return
    row = data.obs.iloc[cell]
    parts = [
        f"{plain(title_of(str(name)))} **{plain(_as_text(row.iloc[i]))}**"
        for i, name in enumerate(data.obs.columns[:10])
    ]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/ads_click: **{plain(data.obs.index[cell])}** · " + " · ".join(parts))
        if st.button("", icon=":material/close:", type="tertiary", help="Close", key="x_close_cell"):
            st.session_state["x_cell"] = None
            draw_again()


def _as_text(value: object) -> str:
    return number(float(value)) if isinstance(value, int | float | np.number) else shorten(value, 40)


def show(view: View) -> None:
    """The card of the selection."""
    data, history, mask = view.data, view.history, view.mask
    n_selected = 0 if mask is None else int(mask.sum())
    rule = history.current
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="x_selected"):
        st.markdown(_title(view, n_selected), width="stretch")
        with st.container(horizontal=True, gap=None, width="content"):
            _step("Undo", ":material/undo:", data, SelectionHistory.undo, not history.past, "Ctrl+Z")
            _step("Redo", ":material/redo:", data, SelectionHistory.redo, not history.future, "Ctrl+Shift+Z")
            _step("Invert", ":material/invert_colors:", data, _invert, rule is None)
            _step("Clear", ":material/close:", data, lambda now: now.select(None), rule is None)
    if rule is None:
        st.caption("Draw a lasso on a map, pick a group in the legend, or write a rule.")
    else:
        st.caption(plain(shorten(data.describe(rule), 200)))
    with st.form("x_rule", border=False), st.container(horizontal=True, vertical_alignment="center", gap="small"):
        text = st.text_input(
            "Rule",
            placeholder='Rule, as cell_type == "B" and gene("CD79A") > 1',
            key="x_query",
            label_visibility="collapsed",
            width="stretch",
            help='Columns, numbers, texts and gene("…"), joined by and, or, not; names with spaces in backticks.',
        )
        how = st.selectbox(
            "What the rule does",
            list(_HOW),
            format_func=_HOW.get,
            key="x_query_how",
            width=122,
            label_visibility="collapsed",
        )
        wants_rule = st.form_submit_button("Select")
    with (
        st.form("x_keep", border=False, clear_on_submit=True),
        st.container(horizontal=True, vertical_alignment="center", gap="small"),
    ):
        name = st.text_input(
            "Name",
            placeholder="Give this selection a name",
            disabled=rule is None,
            label_visibility="collapsed",
            width="stretch",
        )
        wants_name = st.form_submit_button(
            "Keep", disabled=rule is None, help="Nothing is selected that could be kept." if rule is None else None
        )
    with page.guard():  # what is wrong with a rule or a name is reported here, and the panels below stay
        if wants_rule and text.strip():
            keep(data, history.select(combine(how, history.current, _checked(Query(text), data))))
            draw_again()
        if wants_name:
            kept = history.keep(name, n_selected, len(data.shown))
            keep(data, kept)
            st.session_state["x_named"] = kept.named[-1].name  # the one that is offered below
            st.rerun()
    if history.named:
        with page.guard():
            _show_named(data, history)


def _title(view: View, n_selected: int) -> str:
    if view.history.current is None:
        return "**Nothing is selected**"
    n_shown = len(view.data.shown)
    text = f"**{n_selected:,} of {plural(n_shown, 'cell')}** selected ({100 * n_selected / max(1, n_shown):.3g} %)"
    n_hidden = int((view.mask & view.hidden).sum()) if view.mask is not None and view.hidden is not None else 0
    return f"{text}, {n_hidden:,} of them in groups that are switched off" if n_hidden else text


def _invert(history: SelectionHistory) -> SelectionHistory:
    return history if history.current is None else history.select(Invert(history.current))


def _checked(rule: Rule, data: Explored) -> Rule:
    """A rule that can be evaluated: what is wrong with it is reported before it becomes a step."""
    data.mask(rule)
    return rule


def _step(
    label: str,
    icon: str,
    data: Explored,
    act: Callable[[SelectionHistory], SelectionHistory],
    disabled: bool,
    shortcut: str | None = None,
) -> None:
    # A callback runs before the maps are drawn: they are sent once, not twice.
    st.button(
        label,
        icon=icon,
        disabled=disabled,
        type="tertiary",
        key=f"x_{label.lower()}",
        shortcut=shortcut,
        help=f"{label} ({shortcut})" if shortcut else label,
        on_click=lambda: keep(data, act(selections.load(data.key))),
    )


def draw_again() -> None:
    """Run the fragment again, or the page where it is the page that runs."""
    try:
        st.rerun(scope="fragment")
    except StreamlitAPIException:
        st.rerun()


def _show_named(data: Explored, history: SelectionHistory) -> None:
    titles = {kept.name: f"{kept.name} ({plural(kept.n_cells, 'cell')})" for kept in reversed(history.named)}
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        name = st.selectbox("Named selections", list(titles), format_func=titles.get, key="x_named", width="stretch")
        how = st.selectbox(
            "What it does",
            list(_HOW),
            format_func=_HOW.get,
            key="x_named_how",
            width=122,
            label_visibility="collapsed",
        )
        if st.button("Apply", key="x_apply"):
            keep(data, history.select(combine(how, history.current, _checked(history.find(name).rule, data))))
            draw_again()
        with st.popover("", icon=":material/edit:", help="Rename or remove"):
            kept = history.find(name)
            st.caption(f"Made {plain(kept.created_at)} UTC from {plain(shorten(data.describe(kept.rule), 300))}")
            new = st.text_input("New name", value=name, key=f"x_rename_{name}")
            if st.button("Rename", key="x_do_rename"):
                keep(data, history.rename(name, new))
                st.rerun()
            if st.button("Remove", icon=":material/delete:", key="x_remove"):
                keep(data, history.remove(name))
                st.rerun()
