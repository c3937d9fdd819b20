"""Two groups of cells side by side: which genes differ, between cells and between donors."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.analysis.selection.rules import Categories, Rule, to_json
from scfviz.jobs import JobStatus
from scfviz.ui.drawing import charts
from scfviz.ui.explorer.data import title_of
from scfviz.ui.explorer.maps import colors
from scfviz.ui.explorer.panels import comparison, gene_table, result_downloads, result_figures
from scfviz.ui.explorer.panels.comparison import Result
from scfviz.ui.explorer.view import View
from scfviz.ui.frame import job_panel, state
from scfviz.ui.frame.text import plain, plural, shorten

_SELECTIONS, _CURRENT, _REST = "\0selections", "\0current", "\0rest"
_TESTS = {"wilcoxon": "Wilcoxon rank sum", "t-test": "Welch's t-test"}
_LEVELS = {"cells": "Between cells", "donors": "Between donors (DESeq2 on sums per donor)"}
_NOTHING = "Nothing is selected: draw a lasso on a map, or choose a label under Groups from."
_SHOWN_ROWS = 200


@dataclass(frozen=True)
class _Side:
    """One entry of the lists of groups: what it is called, and its rule (None for all other cells or nothing yet)."""

    title: str
    rule: Rule | None


def show(view: View) -> None:
    """Ask for a comparison and show the last one."""
    job = comparison.current(view)
    _follow(view, job)
    chosen = _choose(view)
    if chosen is not None:
        comparison.remember(view, job_panel.status_of(chosen))
        st.rerun()
    if job is not None:
        _show_job(view, job)


def _choose(view: View) -> str | None:
    """The controls; the id of the computation that was asked for, else None."""
    with st.container(key="x_compare_sides"):
        first_column, *columns = st.columns([1.2, 1.6, 1.6, 1.2], gap="medium", vertical_alignment="bottom")
    origin = first_column.selectbox(
        "Groups from",
        [_SELECTIONS, *view.data.labels],
        key="x_sides",
        persist_state="page",
        format_func=lambda name: "selections" if name == _SELECTIONS else title_of(name),
        help="Compare what you selected, or any two groups of a label.",
    )
    sides = _sides(view, origin)
    firsts = [key for key in sides if key != _REST]
    group = columns[0].selectbox(
        "Compare", firsts, format_func=lambda key: sides[key].title, key="x_group", persist_state="page"
    )
    others = [_REST, *(key for key in sides if key not in (group, _REST))]
    reference = columns[1].selectbox(
        "with", others, format_func=lambda key: sides[key].title, key="x_reference", persist_state="page"
    )
    method = columns[2].selectbox(
        "Test",
        list(_TESTS),
        format_func=_TESTS.get,
        key="x_method",
        persist_state="page",
        help="Of cells. A test between donors is offered beside its result, where the file names donors.",
    )
    rule, other = sides[group].rule, sides[reference].rule
    is_empty = rule is None or (other is None and reference != _REST)
    with st.container(horizontal=True, vertical_alignment="center"):
        wants = st.button(
            "Compare",
            type="primary",
            icon=":material/compare_arrows:",
            key="x_compare",
            disabled=is_empty,
            help=_NOTHING if is_empty else None,
        )
        st.button(
            "Swap sides",
            icon=":material/swap_horiz:",
            key="x_swap",
            disabled=reference in (_REST, None),
            on_click=_swap,
            args=(group, reference),
            help="The first side becomes the second. All other cells can only be the second.",
        )
        job_panel.show_memory(comparison.KIND, {"method": method, "gene_store": view.store}, view.data.context.n_obs)
    if not wants or is_empty:
        return None
    options = {
        "dataset": str(view.source.path.resolve()),
        "group": to_json(rule),
        "reference": None if other is None else to_json(other),
        "method": method,
        "embed_job": view.embed_job,
        "task_jobs": view.task_jobs_of(rule, other),
        "gene_column": state.gene_column(),
        "gene_store": view.store,
    }
    return job_panel.ask(comparison.KIND, options)


def _sides(view: View, origin: str) -> dict[str, _Side]:
    """What can be compared, by key."""
    rest = {_REST: _Side(comparison.REST, None)}
    if origin == _SELECTIONS:
        named = {
            kept.name: _Side(f"{kept.name} ({plural(kept.n_cells, 'cell')})", kept.rule) for kept in view.history.named
        }
        return {_CURRENT: _Side("current selection", view.history.current)} | rest | named
    counts = view.data.column(origin).value_counts()
    groups = [(value, int(n)) for value, n in zip(counts.index, counts, strict=True) if n]
    sides = {}
    for value, n in sorted(groups, key=lambda group: _natural(str(group[0]))):
        exact = bool(value) if isinstance(value, bool | np.bool_) else str(value)
        sides[str(value)] = _Side(f"{shorten(value, 60)} ({plural(n, 'cell')})", Categories(origin, (exact,)))
    return sides | rest


def _natural(text: str) -> list[tuple[int, float, str]]:
    parts = re.split(r"(\d+)", text.casefold())
    return [(0, float(part), "") if part.isdecimal() else (1, 0.0, part) for part in parts if part]


def _swap(group: str, reference: str) -> None:
    st.session_state["x_group"], st.session_state["x_reference"] = reference, group


def _follow(view: View, job: JobStatus | None) -> None:
    """Set the controls before they are drawn: to a comparison from a link, to what was just selected on a map."""
    rule = view.history.current
    now, key = hash(rule), f"scfviz.compared.{view.data.dataset}"
    if key not in st.session_state and "x_group" not in st.session_state:
        if job is not None:
            (origin, first), (_, second) = (_place(view, side) for side in comparison.sides_of(job))
            if first is not None and second is not None:
                st.session_state["x_sides"], st.session_state["x_method"] = origin, job.options["method"]
                st.session_state["x_group"], st.session_state["x_reference"] = first, second
        elif rule is None and not view.history.named and view.data.labels:
            st.session_state["x_sides"] = view.data.labels[0]
    elif rule is not None and st.session_state.get(key) != now:
        st.session_state["x_sides"], st.session_state["x_group"] = _SELECTIONS, _CURRENT
    st.session_state[key] = now


def _place(view: View, rule: Rule | None) -> tuple[str, str | None]:
    """Which list of groups a rule is in, and under which key."""
    if rule is None:
        return _SELECTIONS, _REST
    for kept in view.history.named:
        if kept.rule == rule:
            return _SELECTIONS, kept.name
    if isinstance(rule, Categories) and len(rule.values) == 1 and rule.column in view.data.labels:
        return rule.column, str(rule.values[0])
    return _SELECTIONS, _CURRENT if rule == view.history.current else None


def _show_job(view: View, job: JobStatus) -> None:
    names = " against ".join(comparison.side_names(job, view))
    if job.state != "done":
        job_panel.show_progress(
            job.id, f"Comparing {plain(names)}", place="-compare", on_leave=lambda: comparison.forget(view.data)
        )
        return
    result = comparison.read_result(job, view)
    others = plural(result.report["n_reference"], "cell")
    st.markdown(f"**{plain(result.title)}** · {result.report['n_group']:,} against {others}")
    columns = result.report["donor_columns"]
    st.markdown(f":material/{'verified' if columns else 'info'}: {plain(result.report['trust'])}")
    if columns and _wants_donors():
        result = _between_donors(view, job, columns)
    if result is not None:
        _show_result(view, result)


def _wants_donors() -> bool:
    level = st.segmented_control(
        "Result",
        list(_LEVELS),
        format_func=_LEVELS.get,
        default="cells",
        required=True,
        key="x_level",
        bind="query-params",
        label_visibility="collapsed",
    )
    return level == "donors"


def _between_donors(view: View, job: JobStatus, columns: list[str]) -> Result | None:
    column = columns[0]
    if len(columns) > 1:
        column = st.selectbox("Donors are named by", columns, key="x_donor_column", persist_state="page", width=320)
    donors = comparison.of_donors(view, job, column)
    if donors.state == "done":
        return comparison.read_result(donors, view)
    job_panel.show_progress(donors.id, "Comparing donors", place="-compare", on_leave=lambda: _leave_donors(donors.id))
    return None


def _leave_donors(job_id: str) -> None:
    job_panel.forget(job_id)
    st.session_state["x_level"] = "cells"


def _show_result(view: View, result: Result) -> None:
    table, job_id = result.table, result.job.id
    left, right = st.columns([1.1, 1], gap="large")
    with left:
        st.plotly_chart(
            result_figures.draw_volcano(table),
            key=f"x_volcano_{job_id}",
            on_select=lambda: _choose_from_plot(job_id),
            selection_mode="points",
            config=charts.toolbar(result_downloads.file_name(result)),
            alt="Volcano plot of the comparison.",
        )
        n_far = int((table["only_in"] != "").sum()) if "only_in" in table else 0
        far = f" {n_far:,} of them have counts on one side only: they stand at the edges." if n_far else ""
        st.caption(f"A point is a gene.{far} Click one to see it on the maps.")
    with right:
        ends = pd.concat([table.head(_SHOWN_ROWS // 2), table.tail(_SHOWN_ROWS // 2)])
        shown = table if len(table) <= _SHOWN_ROWS else ends
        gene_table.show(shown, f"x_table_{job_id}", choose_gene, first="first", second="second", height=430)
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.caption(
                f"{len(shown):,} of {len(table):,} genes shown, the highest and the lowest scores. "
                "Choose a row to see the gene."
            )
            with st.popover("Download", icon=":material/download:"):
                result_downloads.show(view, result)
    with st.expander("How this was computed", icon=":material/help:"):
        st.markdown(f"**{_TESTS.get(result.report['method'], plain(result.report['method']))}**")
        if result.of_donors:
            paired = "each donor with itself" if result.report["is_paired"] else "donors of one side with the others'"
            st.markdown(f"The counts of a donor's cells on a side are added; DESeq2 then compares {paired}.")
        for note in result.report["notes"]:
            if note != result.report["trust"]:
                st.markdown(plain(note))


def _choose_from_plot(job_id: str) -> None:
    points = st.session_state[f"x_volcano_{job_id}"].selection.points
    if points:
        choose_gene(str(points[0].get("text") or ""))


def choose_gene(gene: str) -> None:
    """Colour the maps by a gene; for callbacks, which run before the page."""
    if gene:
        st.session_state["x_color"] = "gene"
        colors.put("x_gene", gene)
