"""Asking for any task: which computation to show, and the form that follows from its options."""

import dataclasses
from typing import Any

import streamlit as st

from scfviz.errors import ScfvizError
from scfviz.jobs import JobStatus
from scfviz.tasks.registry import TASKS
from scfviz.tasks.spec import ModelOptions, Task, fields_of, title_of, value_type
from scfviz.ui.frame import describe, job_panel, models, sources, state
from scfviz.ui.frame.text import plain


def options_of(task: Task, source: sources.Source) -> dict[str, Any]:
    """The part of a task's options that the dataset, model and filters in use decide."""
    known = {
        "dataset": str(source.path.resolve()),
        "filters": state.filters() or None,
        "gene_column": state.gene_column(),
    }
    if issubclass(task.options_type, ModelOptions):
        known["checkpoint"] = str(models.folder_of(state.model()).resolve())
    return known


def find_job(task: Task, source: sources.Source) -> JobStatus | None:
    """The computation to show: the one in the address, else the newest that fits dataset, model and filters."""
    if state.wants_again(task.name):
        return None
    chosen = state.job(task.name)
    if chosen:
        job = job_panel.status_of(chosen)
        if job.kind == task.name and job_panel.is_of(job, source.path):
            return job
    job = job_panel.newest(task.name, options_of(task, source))
    if (job.id if job else None) != chosen:
        state.choose_job(job.id if job else None, task.name)
    return job


def start(task: Task, source: sources.Source, **options: Any) -> JobStatus:
    """Ask for a task on the dataset in use and show it from now on."""
    job_id = job_panel.ask(task.name, options_of(task, source) | options)
    state.choose_job(job_id, task.name)
    return job_panel.status_of(job_id)


def finished_jobs(source: sources.Source) -> tuple[str, ...]:
    """Of each task but the embedding, the finished computation on a dataset: the one on its page, else the newest."""
    found = []
    done = [job for job in job_panel.visible_jobs() if job.state == "done" and job.kind in TASKS]
    for task in TASKS:
        mine = [job for job in done if job.kind == task != state.FIRST_TASK and job_panel.is_of(job, source.path)]
        mine.sort(key=lambda job: job.id != state.job(job.kind))  # stable: the newest first among the others
        found += [job.id for job in mine[:1]]
    return tuple(found)


def describe_cells(source: sources.Source, *, for_model: bool = True) -> dict[str, Any]:
    """What was found in a file, before anything is asked; see `describe.describe`.

    Raises
    ------
    DatasetError, GeneError
        The file cannot be used, or not by the model where that is needed.
    """
    with st.spinner("Opening the file …"):
        about = describe.describe(source, state.gene_column())
    if for_model:
        describe.refuse_for_model(about)
    return about


def show(task: Task, source: sources.Source, *, defaults: dict[str, Any] | None = None, said: str = "") -> None:
    """The form that asks for a task; a file that cannot be read is reported before it is asked for.

    Parameters
    ----------
    defaults
        What the form starts with where that is not what the options do.
    said
        A sentence above the button.

    Raises
    ------
    DatasetError, GeneError
        The file cannot be used.
    """
    about = describe_cells(source, for_model=task.needs_model)
    fields = [field for field in fields_of(task.options_type) if field.metadata["in_form"]]
    with st.container(border=True, key="card-request"):
        st.markdown(f"#### {task.verb}")
        st.markdown(f"Beside it stands the simple method: {task.baseline}. The defaults suit most datasets.")
        given: dict[str, Any] = {}
        if fields:
            with st.expander("Options", icon=":material/tune:"):
                for place, (column, field) in enumerate(_columns(fields)):
                    with column:
                        given[field.name] = _ask(task, field, source, place, (defaults or {}).get(field.name))
        options = options_of(task, source) | {name: value for name, value in given.items() if value is not None}
        if said:
            st.markdown(said)
        job_panel.show_memory(task.name, options, about["n_obs"])
        if st.button("Compute", type="primary", icon=":material/play_arrow:", key=f"start-{task.name}"):
            start(task, source, **options)
            st.rerun()


def _columns(fields: list[dataclasses.Field]) -> list[tuple[Any, dataclasses.Field]]:
    columns = st.columns(min(3, len(fields)), gap="large")
    return [(columns[number % len(columns)], field) for number, field in enumerate(fields)]


def _ask(task: Task, field: dataclasses.Field, source: sources.Source, place: int, start: Any = None) -> Any:
    """A control for one option; `None` for one that is left out."""
    about, kind = field.metadata, value_type(task.options_type, field)
    default = None if field.default is dataclasses.MISSING else field.default
    default = default if start is None else start
    label = title_of(field) + (f" ({about['unit']})" if about["unit"] else "")
    said = {"key": f"{task.name}-{field.name}", "help": about["help"] or None}
    if about["choices"]:
        words = about["words"] or {choice: str(choice).replace("_", " ") for choice in about["choices"]}
        return st.radio(label, about["choices"], index=about["choices"].index(default), format_func=words.get, **said)
    if about["kind"] in ("dataset", "column", "columns", "gene", "genes"):
        return _ask_for_name(about["kind"], label, source, said, for_model=task.needs_model)
    if kind is bool:
        return st.toggle(label, value=bool(default), **said)
    if kind in (int, float):
        low, high = (None if end is None else kind(end) for end in (about["low"], about["high"]))
        start = None if default is None else kind(default)
        return st.number_input(label, min_value=low, max_value=high, value=start, **said)
    text = st.text_input(label, value=default or "", **said)
    return (tuple(text.split()) if kind is tuple else text) or None


def _ask_for_name(kind: str, label: str, source: sources.Source, said: dict[str, Any], *, for_model: bool) -> Any:
    if kind == "dataset":
        refs = [ref for ref in sources.list_references(state.visitor()) if ref != source.ref]
        ref = st.selectbox(label, refs, index=None, format_func=lambda ref: plain(sources.title_of(ref)), **said)
        if ref is None:
            return None
        try:
            return str(sources.resolve(ref).path.resolve())
        except ScfvizError as error:
            st.caption(f":material/error: {plain(error.found)}")
            return None
    opened = describe.open_dataset(source, state.gene_column())
    if kind in ("gene", "genes"):
        aligned = opened.align() if for_model else opened.counts
        names = sorted(map(str, aligned.genes[aligned.is_measured]))
    else:
        names = list(map(str, opened.adata.obs))
    if kind in ("genes", "columns"):
        return tuple(st.multiselect(label, names, select_all=False, **said)) or None
    return st.selectbox(label, names, index=None, **said)
