"""The explorer: linked maps, their colours, and what is selected on them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.errors import StreamlitAPIException

from scfviz.tasks.selection import Categories, Invert, Query, Rule, combine
from scfviz.tasks.selection_history import SelectionHistory
from scfviz.ui import coloring, compare, describe, explorer_data, figure, page, quantise, selections, sources, state
from scfviz.ui.cell_map import MAX_MAPS, MapEvent, cell_map, hidden_codes, read_event
from scfviz.ui.explorer_data import Explored, title_of
from scfviz.ui.text import number, plain, plural, shorten

KEY = "explorer"
_KINDS = {"label": "Label", "gene": "Gene", "value": "Value", "genes": "Mix"}
_HOW = {"replace": "Replace", "add": "Add", "subtract": "Take away", "intersect": "Keep common"}
EXPRESSION_UNIT = "ln(1 + counts per 10,000)"


def show(source: sources.Source, embed_job: str | None) -> None:
    """Everything: maps with selections, then comparisons."""
    job = explorer_data.store_job(source)
    store = explorer_data.store_folder(job)
    data = explorer_data.explore(source, embed_job, store)
    if not data.maps:
        page.show_empty("No map yet", "The file holds no map of its cells, and none has been computed yet.")
        return
    if not data.is_trained:
        page.untrained_notice()
    with st.container():  # always there, so that nothing below moves or is made anew when the note goes
        if job.is_active:
            st.caption(
                ":material/bolt: Genes are being ordered for quick access; until then each takes a little longer."
            )
    _show_maps(source, data, store)
    compare.show(source, data, embed_job, store)


@st.fragment
def _show_maps(source: sources.Source, data: Explored, store: str | None) -> None:
    with page.guard():
        with st.container(border=True, key="card-explorer"):
            names, chosen, column = _controls(source, data, store)
            history = _apply_event(data, chosen, column)
            rule = history.current
            mask = None if rule is None else data.mask(rule)
            cell_map(
                {name: data.maps[name] for name in names},
                chosen,
                key=KEY,
                selected=mask,
                outlines=selections.outlines(rule),
                names=data.obs.index,
                titles=data.titles,
                filename=f"{Path(source.title).stem}_map",
                caption=_caption(source, data, chosen),
            )
            _show_cell(data)
            with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                st.caption(_describe_drawing(data, names))
                with st.popover("Download", icon=":material/download:"):
                    _show_downloads(source, data, history, mask, names, chosen)
        with st.container(border=True, key="card-selection"):
            _show_selection(data, history, mask)


def _controls(source: sources.Source, data: Explored, store: str | None):
    """Which maps, and their colours: (names of maps, colouring, column of a label)."""
    left, middle, right = st.columns([1.5, 1.7, 1.6], gap="medium", vertical_alignment="bottom")
    all_maps = list(data.maps)
    names = right.multiselect(
        "Maps", all_maps, default=all_maps[:2], format_func=data.titles.get, max_selections=MAX_MAPS, key="x_maps"
    )  # fmt: skip
    kinds = [kind for kind in _KINDS if (kind != "label" or data.labels) and (kind != "value" or data.values)]
    # A click on a gene elsewhere sets this choice; Streamlit then wants no default beside it.
    default = None if st.session_state.get("x_color") in kinds else kinds[0]
    kind = left.segmented_control(
        "Colour by", kinds, format_func=_KINDS.get, default=default, required=True, key="x_color", bind="query-params"
    )
    column = None
    with middle:
        if kind == "label":
            column = st.selectbox("Label", data.labels, format_func=title_of, key="x_label", bind="query-params")
            stored = describe.colors(source, state.gene_column()).get(column)
            chosen = coloring.color_by_labels(title_of(column), _column(data, column), stored=stored)
        elif kind == "value":
            name = st.selectbox("Value", data.values, format_func=title_of, key="x_value", bind="query-params")
            unit = explorer_data.UNITS.get(name, "column of the file")
            chosen = coloring.color_by_values(title_of(name), unit, _column(data, name).to_numpy(float))
        elif kind == "gene":
            chosen = _by_gene(source, data, store)
        else:
            chosen = _by_genes(source, data, store)
    return names or all_maps[:1], chosen, column


def _by_gene(source: sources.Source, data: Explored, store: str | None) -> coloring.Values:
    asked = st.selectbox(
        "Gene", data.genes, index=None, key="x_gene", bind="query-params", accept_new_options=True,
        placeholder="Symbol, alias or Ensembl ID",
    )  # fmt: skip
    if not asked:
        nothing = np.full(len(data.shown), np.nan, np.float32)
        return coloring.Values("no gene chosen", "", nothing, 0.0, 1.0)
    gene, values = _read(source, data, store, asked)
    title = gene if gene == asked else f"{gene} ({asked})"
    return coloring.color_by_values(title, EXPRESSION_UNIT, values)


def _by_genes(source: sources.Source, data: Explored, store: str | None) -> quantise.Coloring:
    asked = st.multiselect(
        "Two or three genes", data.genes, key="x_genes", max_selections=3, placeholder="Their colours are mixed"
    )
    if not asked:
        return coloring.Values("no gene chosen", "", np.full(len(data.shown), np.nan, np.float32), 0.0, 1.0)
    return quantise.blend(dict(_read(source, data, store, name) for name in asked), EXPRESSION_UNIT)


def _read(source: sources.Source, data: Explored, store: str | None, asked: str) -> tuple[str, np.ndarray]:
    gene = describe.find_gene(asked, set(data.genes))
    with st.spinner(f"Reading {gene} …"):
        return gene, explorer_data.gene_values(source, data, gene, store)


def _apply_event(data: Explored, chosen: quantise.Coloring, column: str | None) -> SelectionHistory:
    """The selections after what the visitor did on the map."""
    history = selections.load(data.dataset)
    event = read_event(KEY)
    if event is None:
        return history
    if event.kind == "cell":
        st.session_state["x_cell"] = event.code if 0 <= event.code < len(data.shown) else None
        return history
    rule = None if event.kind == "clear" else _rule_of(event, data, chosen, column)
    if event.kind != "clear":
        if rule is None or (event.map and event.map not in data.maps):
            return history
        rule = combine(event.operation, history.current, rule)
    return _keep(data, history.select(rule))


def _rule_of(event: MapEvent, data: Explored, chosen: quantise.Coloring, column: str | None) -> Rule | None:
    if event.kind != "category":
        return event.rule()
    if column is None or not isinstance(chosen, coloring.Labels) or not 0 <= event.code < len(chosen.names):
        return None
    cells = chosen.codes == event.code
    values = _column(data, column)[cells].drop_duplicates()
    # The legend's entry may stand for many small groups, or for cells without a label; the rule names what it holds.
    named = [None if pd.isna(v) else bool(v) if isinstance(v, bool | np.bool_) else str(v) for v in values]
    return Categories(column, tuple(named)) if named else None


def _keep(data: Explored, history: SelectionHistory) -> SelectionHistory:
    selections.save(data.dataset, history)
    return selections.load(data.dataset)


def _show_cell(data: Explored) -> None:
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
            _draw_anew()


def _as_text(value: object) -> str:
    return number(float(value)) if isinstance(value, int | float | np.number) else shorten(value, 40)


def _show_selection(data: Explored, history: SelectionHistory, mask: np.ndarray | None) -> None:
    st.markdown("#### Selection")
    n_selected = 0 if mask is None else int(mask.sum())
    with st.container(horizontal=True, vertical_alignment="center"):
        if history.current is None:
            st.markdown("Nothing is selected: draw a lasso on a map, pick a group in the legend, or write a rule.")
        else:
            share = 100 * n_selected / max(1, len(data.shown))
            text = f"**{n_selected:,} of {plural(len(data.shown), 'cell')}** ({share:.3g} %)"
            st.markdown(f"{text} · {plain(shorten(history.current.describe(), 200))}")
        _step("Undo", ":material/undo:", data, history.undo, not history.past)
        _step("Redo", ":material/redo:", data, history.redo, not history.future)
        rule = history.current
        _step("Invert", ":material/invert_colors:", data, lambda: history.select(Invert(rule)), rule is None)
        _step("Clear", ":material/close:", data, lambda: history.select(None), rule is None)
    left, right = st.columns(2, gap="large")
    with left, st.form("x_rule", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Rule", placeholder='cell_type == "B" and gene("CD79A") > 1', key="x_query",
            help="Columns, numbers, texts and gene(\"…\"), joined by and, or, not; names with spaces in backticks.",
        )  # fmt: skip
        how = st.selectbox("What it does", list(_HOW), format_func=_HOW.get, key="x_query_how", width=150)
        if st.form_submit_button("Select") and text.strip():
            _keep(data, history.select(combine(how, history.current, _checked(Query(text), data))))
            _draw_anew()
    with right, st.form("x_keep", border=False, clear_on_submit=True):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            name = st.text_input("Name", placeholder="Give this selection a name", disabled=history.current is None)
            if st.form_submit_button("Keep", disabled=history.current is None):
                _keep(data, history.keep(name, n_selected, len(data.shown)))
                st.rerun()
    if history.named:
        _show_named(data, history)


def _checked(rule: Rule, data: Explored) -> Rule:
    """A rule that can be evaluated: what is wrong with it is said before it becomes a step."""
    data.mask(rule)
    return rule


def _step(label: str, icon: str, data: Explored, act: Callable[[], SelectionHistory], disabled: bool) -> None:
    if st.button(label, icon=icon, disabled=disabled, type="tertiary", key=f"x_{label.lower()}"):
        _keep(data, act())
        _draw_anew()


def _draw_anew() -> None:
    """Run the fragment again, or the page where it is the page that runs."""
    try:
        st.rerun(scope="fragment")
    except StreamlitAPIException:
        st.rerun()


def _show_named(data: Explored, history: SelectionHistory) -> None:
    titles = {kept.name: f"{kept.name} ({kept.n_cells:,} cells)" for kept in history.named}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Named selections", list(titles), format_func=titles.get, key="x_named")
        how = st.selectbox("What it does", list(_HOW), format_func=_HOW.get, key="x_named_how", width=150)
        if st.button("Apply", key="x_apply"):
            _keep(data, history.select(combine(how, history.current, _checked(history.find(name).rule, data))))
            _draw_anew()
        with st.popover("", icon=":material/edit:", help="Rename or remove"):
            kept = history.find(name)
            st.caption(f"Made {plain(kept.created_at)} UTC from {plain(shorten(kept.rule.describe(), 300))}")
            new = st.text_input("New name", value=name, key=f"x_rename_{name}")
            if st.button("Rename", key="x_do_rename"):
                _keep(data, history.rename(name, new))
                st.rerun()
            if st.button("Remove", icon=":material/delete:", key="x_remove"):
                _keep(data, history.remove(name))
                st.rerun()


def _show_downloads(source, data: Explored, history: SelectionHistory, mask, names: list[str], chosen) -> None:
    stem = Path(source.title).name.split(".")[0] or "cells"
    caption = _caption(source, data, chosen)
    hidden = hidden_codes(KEY, chosen)

    def draw(kind: str) -> bytes:
        maps = {data.titles[name]: data.maps[name] for name in names}
        return figure.draw_maps(maps, chosen, kind, selected=mask, hidden=hidden, caption=caption)

    with st.container():
        for kind, mime in (("svg", "image/svg+xml"), ("png", "image/png"), ("pdf", "application/pdf")):
            st.download_button(
                f"Figure ({kind.upper()})", lambda kind=kind: draw(kind), f"{stem}_map.{kind}", mime, on_click="ignore",
                icon=":material/imagesmode:", key=f"x_{kind}",
            )  # fmt: skip
        st.download_button(
            "Table of cells (CSV)", lambda: cell_table(data, history).to_csv(), f"{stem}_cells.csv", "text/csv",
            on_click="ignore", icon=":material/table:", key="x_csv",
        )  # fmt: skip
        if mask is not None:
            st.download_button(
                "Selected cells (CSV)", lambda: cell_table(data, history)[mask].to_csv(), f"{stem}_selected.csv",
                "text/csv", on_click="ignore", icon=":material/lasso_select:", key="x_selected_csv",
            )  # fmt: skip
    st.caption(
        "Figures have text that can be edited, the cells as one picture at 300 dots per inch, and a caption. The "
        "tables hold every column, the maps, and one column for each named selection."
    )


def cell_table(data: Explored, history: SelectionHistory) -> pd.DataFrame:
    """One row per shown cell: the table, positions on all maps, and whether it is in each named selection."""
    table = data.obs.copy(deep=False)
    table.index = table.index.rename("cell")
    for name, xy in data.maps.items():
        for axis in (0, 1):
            table[f"{name}_{axis + 1}"] = xy[:, axis]
    for kept in history.named:
        table[f"selection: {kept.name}"] = data.mask(kept.rule)
    if history.current is not None:
        table["selected"] = data.mask(history.current)
    return table


def _column(data: Explored, name: str) -> pd.Series:
    position = [str(column) for column in data.obs.columns].index(name)
    return data.obs.iloc[:, position]


def _caption(source: sources.Source, data: Explored, chosen: quantise.Coloring) -> str:
    unit = getattr(chosen, "unit", "")
    return f"{source.title}: {plural(len(data.shown), 'cell')}, coloured by {chosen.title}" + (
        f" in {unit}" if unit else ""
    )


def _describe_drawing(data: Explored, names: list[str]) -> str:
    total = data.context.n_obs
    parts = [f"{len(data.shown):,} of {plural(total, 'cell')} shown"]
    if len(data.shown) < total:
        parts[0] += f", {total - len(data.shown):,} removed by the filters of the embedding"
    for name in names:
        missing = int((~np.isfinite(data.maps[name]).all(axis=1)).sum())
        if missing:
            parts.append(f"{missing:,} have no place on the map {plain(data.titles[name])}")
    return " · ".join([*parts, "press ? on a map for shortcuts"])
