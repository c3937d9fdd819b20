"""The result of any task: what was computed, the map coloured by what it found, tables, downloads."""

import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from scfviz.jobs import JobStatus, Workspace
from scfviz.tasks.result import Result
from scfviz.tasks.spec import Task, fields_of, title_of, words_of
from scfviz.ui.frame import page, sources, state
from scfviz.ui.frame.text import duration, plain, plural
from scfviz.ui.tasks.results import load_result

MAX_ROWS = 2_000  # of a table on the screen; the file has all


def show(task: Task, job: JobStatus, source: sources.Source) -> None:
    """Everything about a finished task."""
    result = load_result(job.id)
    show_facts(task, result)
    show_map(task, job, source)
    _show_scores(result)
    for name, table in result.tables.items():
        with st.container(border=True, key=f"card-table-{name}"):
            st.markdown(f"#### {plain(name.replace('_', ' ').capitalize())}")
            st.dataframe(table.head(MAX_ROWS), hide_index=True)
            if len(table) > MAX_ROWS:
                st.caption(f"{MAX_ROWS:,} of {plural(len(table), 'row')}; the file has all.")
    show_downloads(task, result, source)


def show_facts(task: Task, result: Result) -> None:
    """One line that says what was computed, with the way to other options, and what the computation had to say."""
    report = result.report
    parts = [plural(report["n_obs"], "cell")]
    if report["n_removed"]:
        parts.append(f"{plural(report['n_removed'], 'cell')} removed by filters")
    if report["checkpoint"] is not None:
        parts.append(f"model {plain(report['checkpoint']['name'])}")
    parts += [f"{title_of(field).lower()}: {plain(value)}" for field, value in _chosen(task, result)]
    parts.append(f"computed in {duration(sum(report['seconds'].values()))}")
    with st.container(horizontal=True, vertical_alignment="center", key="facts"):
        st.markdown(" · ".join(parts))
        if st.button("Other options", icon=":material/tune:", type="tertiary", key=f"other-{task.name}"):
            state.ask_again(task.name)
            st.rerun()
    if report["checkpoint"] is not None and not report["checkpoint"]["is_trained"]:
        page.untrained_notice()
    for note in result.notes:
        st.caption(f":material/info: {plain(note)}")


def _chosen(task: Task, result: Result) -> list[tuple[Any, str]]:
    """Options that are not the default, with their values as text."""
    options = result.report["options"]
    fields = [field for field in fields_of(task.options_type) if field.metadata["in_form"]]
    values = [(field, options.get(field.name)) for field in fields]
    return [(field, words_of(field, value)) for field, value in values if value is not None and value != field.default]


@st.fragment
def show_map(task: Task, job: JobStatus, source: sources.Source) -> None:
    """The cells' map, on the first visit coloured by the first thing that the task found."""
    from scfviz.ui.explorer import data as explorer_data
    from scfviz.ui.explorer.maps import colored_maps, quick
    from scfviz.ui.tasks.embedding import TASK
    from scfviz.ui.tasks.request import find_job, finished_jobs

    with page.guard():
        embedded = find_job(TASK, source)
        embed_job = embedded.id if embedded is not None and embedded.state == "done" else None
        data = explorer_data.explore(source, embed_job, None, finished_jobs(source))
        if not quick.offer(source, data, embed_job):
            return
        _color_by(task, job, data)
        with st.container(border=True, key="card-maps"):
            colored_maps.show(source, data, key=f"maps-{task.name}")


def _color_by(task: Task, job: JobStatus, data: Any) -> None:
    """The first visit to a result finds the map coloured by what the task found."""
    key = f"scfviz.colored.{job.id}"
    if st.session_state.get(key):
        return
    st.session_state[key] = True
    for entry in task.writes:
        kind = "label" if entry.name in data.labels else "value" if entry.name in data.values else None
        if entry.part == "obs" and kind is not None:
            st.session_state["x_color"], st.session_state[f"x_{kind}"] = kind, entry.name
            return


def _show_scores(result: Result) -> None:
    numbers = {name: value for name, value in result.scores.items() if isinstance(value, int | float)}
    if numbers:
        with st.container(horizontal=True, key="card-scores"):
            for name, value in numbers.items():
                st.metric(name.replace("_", " ").capitalize(), f"{value:,.3g}")


def show_downloads(task: Task, result: Result, source: sources.Source) -> None:
    """A card with the tables of a result as CSV, and the user's file with the result as h5ad."""
    stem = Path(source.title).name.split(".")[0] or "cells"
    with st.container(border=True, key="card-downloads"):
        st.markdown("#### Download")
        with st.container(horizontal=True):
            tables: dict[str, pd.DataFrame] = {"cells": result.cells} | dict(result.tables)
            for name, table in tables.items():
                st.download_button(
                    f"Table of {name.replace('_', ' ')} (CSV)",
                    lambda table=table: table.to_csv(),
                    f"{stem}_{task.name}_{name}.csv",
                    "text/csv",
                    on_click="ignore",
                    icon=":material/table:",
                    key=f"{task.name}-csv-{name}",
                )
            if source.path.is_dir() or source.path.stat().st_size < sources.MAX_BROWSER_BYTES:
                st.download_button(
                    "Dataset with results (h5ad)",
                    lambda: dataset_bytes(task, result, source),
                    f"{stem}_{task.name}.h5ad",
                    "application/x-hdf5",
                    on_click="ignore",
                    icon=":material/dataset:",
                    key=f"{task.name}-h5ad",
                )
            elif task.command is not None:
                st.caption(f"Too large for the browser: `scfviz {task.command} FILE OUT.h5ad` writes it on the server.")


def dataset_bytes(task: Task, result: Result, source: sources.Source) -> bytes:
    """The user's file with the results added, as h5ad."""
    from scfviz.data.read import read_dataset
    from scfviz.data.write import write_h5ad_with
    from scfviz.tasks.additions import additions

    parts = additions(task, result, read_dataset(source.path, folders=sources.allowed_folders()).n_obs)
    about = {"scfviz": parts.pop("uns")}
    with tempfile.TemporaryDirectory(dir=Workspace().root) as folder:
        path = Path(folder) / "result.h5ad"
        write_h5ad_with(source.path, path, content=result.report["dataset_id"], **parts, uns=about)
        return path.read_bytes()
