"""What are these cells? Labels that people give: cells move between them, and it is kept who did so, when and how."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.analysis.labels.labels import MAX_LABEL, Annotation, Change, as_label, start_annotation
from scfviz.analysis.labels.tables import import_labels, label_columns, labels_to_csv
from scfviz.analysis.selection.rules import Categories
from scfviz.errors import OptionError
from scfviz.jobs import Workspace
from scfviz.jobs.labels import (
    change_labels,
    column_version,
    free_column_name,
    labels_version,
    list_labels,
    remove_labels,
    start_labels,
)
from scfviz.ui.drawing import coloring, palette
from scfviz.ui.explorer.data import Explored, title_of
from scfviz.ui.explorer.selection import selection_card
from scfviz.ui.explorer.view import View
from scfviz.ui.frame.text import number, plain, plural, shorten

_COLUMN, _AUTHOR, _CHOSEN = "x_labels_column", "x_labels_author", "x_labels_chosen"
_PENDING, _SAID = "scfviz.labels.pending", "scfviz.labels.said"
_EMPTY = "\0empty"
_SHOWN_CHANGES = 200
_NONE_CHOSEN = "Choose labels above first."


def apply_pending() -> None:
    """Set what a click of the last run asked the controls to show; called before they are drawn."""
    for key, value in (st.session_state.pop(_PENDING, None) or {}).items():
        st.session_state[key] = value


def rename_group(view: View, old: str, new: str) -> None:
    """Give a group of the legend another name, and run the page again.

    User-defined labels are renamed where they are. A column of the file is never changed: its copy is, which becomes
    a column of labels, and colours the maps from now on.

    Raises
    ------
    OptionError
        The maps are not coloured by a label, no cell has the label `old`, or `new` is no name or is taken.
    """
    data, column = view.data, view.chosen.column
    if column is None:
        raise OptionError("The maps are not coloured by a label.", "Only labels have names.", "Colour by a label.")
    if column in list_labels(Workspace(), data.key):
        _change(view, column, lambda labels: labels.rename(old, new, author=_author()))
    else:
        name = free_column_name(Workspace(), data.key, f"{column[: MAX_LABEL - 12]} (edited)", data.obs.columns)
        copy = _copy(view, name, column)
        _start(data, copy.rename(as_label(old), new, author=_author()))
    st.rerun()


def show(view: View) -> None:
    """The panel: a column of labels, what can be done with the selected cells, and the table of labels."""
    labels = list_labels(Workspace(), view.data.key)
    said = st.session_state.pop(_SAID, None)
    if said:
        st.success(plain(said), icon=":material/check_circle:")
    if not labels:
        _show_empty(view)
        return
    annotation = labels[_show_tools(view, labels)]
    with st.container(key="x_labels_sides"):
        left, right = st.columns(2, gap="medium")
    with left:
        _show_giving(view, annotation)
    with right:
        _show_changing(view, annotation)
    _show_table(view, annotation)
    st.session_state[_seen(view, annotation.name)] = column_version(Workspace(), view.data.key, annotation.name)
    if labels_version(Workspace(), view.data.key) != view.data.own_version:
        st.rerun()  # somebody else has labelled in the meantime: the maps follow


def _show_empty(view: View) -> None:
    st.markdown(
        "**No labels of your own yet.** Start a column of labels, empty or as a copy of one that is there; then select "
        "cells and say what they are. The file itself is never changed."
    )
    _show_start(view, "x_labels_first")


def _show_start(view: View, key: str) -> None:
    data = view.data
    sources = {_EMPTY: "no labels"} | {name: f"a copy of {title_of(name)}" for name in data.labels}
    with st.form(key, border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name of the new column", placeholder="For example: my cell types", key=f"{key}_name")
        column = st.selectbox("It starts with", list(sources), format_func=sources.get, key=f"{key}_from")
        if st.form_submit_button("Start labelling", type="primary", icon=":material/new_label:"):
            _start(data, _copy(view, name, None if column == _EMPTY else column))
            st.rerun()


def _copy(view: View, name: str, column: str | None) -> Annotation:
    """A new column of labels; a copy keeps the colours of what it copies."""
    data, colors = view.data, {}
    if column is not None:
        shown = coloring.color_by_labels(column, data.column(column), stored=data.colors.get(column))
        colors = dict(zip(shown.names[: shown.n_own], shown.colors, strict=False))
    return start_annotation(name, data.context.obs, column=column, author=_author(), colors=colors)


def _start(data: Explored, annotation: Annotation) -> None:
    annotation = annotation.paint(palette.CATEGORIES)
    start_labels(Workspace(), data.key, annotation, [name for name in data.obs if name not in data.own])
    st.session_state[_PENDING] = {_COLUMN: annotation.name, "x_color": "label", "x_label": annotation.name}


def _show_tools(view: View, labels: dict[str, Annotation]) -> str:
    data = view.data
    if st.session_state.get(_COLUMN) not in labels:
        st.session_state.pop(_COLUMN, None)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Column of labels", list(labels), key=_COLUMN, width=200)
        st.text_input(
            "Your name (optional)",
            max_chars=80,
            key=_AUTHOR,
            persist_state="session",
            width=170,
            help="Kept with every change that you make, so that others know who did it.",
        )
        annotation = labels[name]
        _show_step(view, annotation, "Undo", ":material/undo:", annotation.changes[-1:], Annotation.undo)
        _show_step(view, annotation, "Redo", ":material/redo:", annotation.undone[:1], Annotation.redo)
        if view.chosen.column != name and st.button("Colour by it", icon=":material/palette:", key="x_labels_color"):
            st.session_state[_PENDING] = {"x_color": "label", "x_label": name}
            selection_card.draw_again()
        with st.popover("New", icon=":material/new_label:", help="Start another column of labels"):
            _show_start(view, "x_labels_new")
        with st.popover("CSV", icon=":material/table:", help="Labels by barcode, out and in"):
            _show_csv(view, annotation)
        with st.popover("", icon=":material/more_vert:", help="Remove this column"):
            st.markdown(f"Removes **{plain(name)}** for everyone who opens this dataset. It cannot be undone.")
            if st.button("Remove this column", icon=":material/delete:", key="x_labels_remove"):
                remove_labels(Workspace(), data.key, name)
                st.rerun()
    return name


def _show_step(
    view: View, annotation: Annotation, label: str, icon: str, step: tuple, act: Callable[[Annotation], Annotation]
) -> None:
    told = f"{label}: {plain(shorten(_in_words(step[0]), 160))}" if step else f"Nothing to {label.lower()}"
    if st.button(label, icon=icon, disabled=not step, type="tertiary", help=told, key=f"x_labels_{label.lower()}"):
        # A change of somebody else must not be undone by someone who has not seen it.
        _change(view, annotation.name, act, seen=st.session_state.get(_seen(view, annotation.name)))
        st.rerun()


def _show_giving(view: View, annotation: Annotation) -> None:
    st.markdown("##### Label the selected cells")
    n = 0 if view.mask is None else int(view.mask.sum())
    label = st.selectbox(
        "Label",
        list(annotation.counts()),
        index=None,
        accept_new_options=True,
        key="x_labels_give",
        placeholder="Type a new label, or choose one",
        label_visibility="collapsed",
    )
    if n:
        st.markdown(_preview(annotation.counts_in(_all_cells(view)), label, n))
    else:
        st.markdown("Nothing is selected: draw a lasso on a map, pick a group in the legend, or write a rule.")
    how = view.data.describe(view.history.current) if view.history.current else ""
    with st.container(horizontal=True):
        ready = bool(n and label)
        kind = "primary" if ready else "secondary"
        if st.button(
            "Assign label",
            type=kind,
            icon=":material/label:",
            disabled=not ready,
            key="x_labels_move",
            help=None if ready else "Select cells first." if not n else "Type or choose a label first.",
        ):
            _change(view, annotation.name, lambda a: a.assign(_all_cells(view), label, how=how, author=_author()))
            st.session_state[_PENDING] = {"x_labels_give": None}
            st.rerun()
        if st.button(
            "Clear label",
            icon=":material/label_off:",
            disabled=not n,
            key="x_labels_clear",
            help=None if n else "Select cells first.",
        ):
            _change(view, annotation.name, lambda a: a.assign(_all_cells(view), None, how=how, author=_author()))
            st.rerun()


def _preview(before: dict[str | None, int], label: str | None, n: int) -> str:
    """What a click will do, so that nobody is surprised that cells leave their old label."""
    moved = {name: count for name, count in before.items() if name != label}
    texts = [
        f"{count:,} {'had no label' if name is None else f'of them were **{plain(name)}**'}"
        for name, count in list(moved.items())[:4]
    ]
    more = len(moved) - 4
    if more > 0:
        texts.append(f"and others from {plural(more, 'more label')}")
    if not label:
        now = [
            f"{count:,} {'without a label' if name is None else f'**{plain(name)}**'}"
            for name, count in list(before.items())[:5]
        ]
        return f"{plural(n, 'cell')} selected: {', '.join(now)}{' and others' if len(before) > 5 else ''}."
    kept = before.get(label, 0)
    if kept == n:
        return f"All {n:,} cells are **{plain(label)}** already."
    text = f"{plural(n - kept, 'cell')} {'gets' if n - kept == 1 else 'get'} **{plain(label)}**; {', '.join(texts)}."
    return text + (f" {kept:,} {'is' if kept == 1 else 'are'} that already." if kept else "")


def _show_changing(view: View, annotation: Annotation) -> None:
    st.markdown("##### Change labels")
    counts = annotation.counts()
    kept = [name for name in st.session_state.get(_CHOSEN, []) if name in counts]
    if kept != st.session_state.get(_CHOSEN, kept):
        st.session_state[_CHOSEN] = kept
    chosen = st.multiselect(
        "Labels",
        list(counts),
        key=_CHOSEN,
        placeholder="One to rename, several to merge",
        label_visibility="collapsed",
        select_all=False,
    )
    n = sum(counts[name] for name in chosen)
    with st.form("x_labels_rename", border=False), st.container(horizontal=True, vertical_alignment="bottom"):
        new = st.text_input(
            "New name",
            max_chars=MAX_LABEL,
            label_visibility="collapsed",
            placeholder="New name",
            key=f"x_labels_name_{len(annotation.history())}",
        )
        verb = "Merge" if len(chosen) > 1 else "Rename"
        if st.form_submit_button(
            verb,
            icon=":material/merge:" if verb == "Merge" else ":material/edit:",
            disabled=not chosen,
            help=None if chosen else _NONE_CHOSEN,
        ):
            _rename_or_merge(view, annotation, chosen, new)
    with st.container(horizontal=True):
        if st.button(
            "Select their cells",
            icon=":material/select_all:",
            disabled=not chosen,
            key="x_labels_select",
            help=None if chosen else _NONE_CHOSEN,
        ):
            selection_card.keep(view.data, view.history.select(Categories(annotation.name, tuple(chosen))))
            selection_card.draw_again()
        if st.button(
            "Give up the label",
            icon=":material/label_off:",
            disabled=not chosen,
            key="x_labels_drop",
            help=f"{plural(n, 'cell')} will have no label." if chosen else _NONE_CHOSEN,
        ):
            _change(view, annotation.name, lambda a: _without(a, chosen))
            st.rerun()


def _rename_or_merge(view: View, annotation: Annotation, chosen: list[str], new: str) -> None:
    if not chosen:
        raise OptionError("No label is chosen.", "One is renamed, several are merged.", "Choose them above the name.")
    if len(chosen) == 1:
        _change(view, annotation.name, lambda a: a.rename(chosen[0], new, author=_author()))
    else:
        _change(view, annotation.name, lambda a: a.merge(chosen, new, author=_author()))
    st.rerun()


def _without(annotation: Annotation, chosen: list[str]) -> Annotation:
    numbers = [annotation.labels.index(name) for name in chosen]
    how = f"all cells of {', '.join(chosen)}"
    return annotation.assign(np.isin(annotation.codes, numbers), None, how=how, author=_author())


def _show_table(view: View, annotation: Annotation) -> None:
    counts, total = annotation.counts(), annotation.n_obs
    selected = {} if view.mask is None else annotation.counts_in(_all_cells(view))
    last = annotation.last_changes()
    rows = []
    for name, count in counts.items():
        change = last.get(name)
        rows.append(
            {
                "Label": name,
                "Cells": count,
                "Share": count / total,
                "Selected": selected.get(name, 0),
                "By": change.author if change else "",
                "When (UTC)": _when(change.at) if change else "",
                "How": f"{change.action}{': ' if change.how else ''}{change.how}" if change else annotation.origin,
            }
        )
    none = total - sum(counts.values())
    st.markdown(f"##### {plural(len(counts), 'label')} in {plain(annotation.name)}")
    if rows:
        st.dataframe(
            pd.DataFrame(rows),
            hide_index=True,
            key="x_labels_table",
            height=min(420, 38 + 35 * len(rows)),
            column_config={
                "Cells": st.column_config.NumberColumn(format="localized", width="small"),
                "Share": st.column_config.NumberColumn(format="percent", width="small", help="of all cells"),
                "Selected": st.column_config.NumberColumn(
                    format="localized", width="small", help="cells of the label that are selected now"
                ),
                "When (UTC)": st.column_config.TextColumn(width=130, help="last change"),
                "How": st.column_config.TextColumn(width="large", help="what gave cells this label last"),
            },
        )
    st.caption(
        f"{none:,} of {plural(total, 'cell')} have no label. The labels are kept for everyone who opens this dataset "
        "here; they colour the maps, and rules and comparisons can speak of them."
    )
    history = annotation.history()
    if history:
        with st.expander(f"All changes ({len(history):,})", icon=":material/history:"):
            shown = [
                {
                    "When (UTC)": _when(h["at"]),
                    "By": h["author"],
                    "What": h["action"],
                    "Cells": h["n_cells"],
                    "How": h["how"],
                }
                for h in history[: -_SHOWN_CHANGES - 1 : -1]
            ]
            st.dataframe(pd.DataFrame(shown), hide_index=True, key="x_labels_history")
            if len(history) > len(shown):
                st.caption(f"The last {len(shown):,} of {len(history):,} changes are shown; exports hold all.")


def _show_csv(view: View, annotation: Annotation) -> None:
    data, stem = view.data, Path(view.source.title).name.split(".")[0] or "cells"
    safe = "".join(letter if letter.isalnum() else "_" for letter in annotation.name)[:60]
    st.download_button(
        "Export these labels (CSV)",
        lambda: labels_to_csv(annotation, data.context.obs.index),
        f"{stem}_{safe}.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/download:",
        key="x_labels_csv",
    )
    file = st.file_uploader(
        "Import labels",
        type=["csv", "tsv", "txt"],
        key="x_labels_file",
        help="A table whose first column holds barcodes. Cells that it does not name keep their label; an empty field "
        "clears the label.",
    )
    if file is None:
        return
    content = file.getvalue()
    column = st.selectbox("Column with the labels", label_columns(content, file=file.name), key="x_labels_file_column")
    if st.button("Import", type="primary", icon=":material/upload:", key="x_labels_import"):
        report: list[Any] = []

        def take(labels: Annotation) -> Annotation:
            changed, found = import_labels(
                labels, data.context.obs.index, content, column=column, file=shorten(file.name, 80), author=_author()
            )
            report.append(found)
            return changed

        _change(view, annotation.name, take)
        st.session_state[_SAID] = report[-1].describe()
        st.rerun()


def _change(view: View, name: str, change: Callable[[Annotation], Annotation], seen: str | None = None) -> None:
    change_labels(Workspace(), view.data.key, name, lambda a: change(a).paint(palette.CATEGORIES), seen=seen)


def _all_cells(view: View) -> np.ndarray:
    """The selection as bool over all cells of the file."""
    mask = np.zeros(view.data.context.n_obs, dtype=bool)
    mask[view.data.shown[view.mask]] = True
    return mask


def _author() -> str:
    return str(st.session_state.get(_AUTHOR) or "").strip()[:80]


def _seen(view: View, name: str) -> str:
    return f"scfviz.labels.seen.{view.data.dataset}.{name}"


def _in_words(change: Change) -> str:
    by = f" by {change.author}" if change.author else ""
    return f"{change.action} ({number(len(change.cells))} cells{by}, {change.at[:16].replace('T', ' ')} UTC)"


def _when(at: str) -> str:
    """A time of `Change.at`, which is UTC, as people read it."""
    return at[:16].replace("T", " ")
