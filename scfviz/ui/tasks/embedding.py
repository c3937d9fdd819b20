"""Asking for an embedding. Light to import: the start page needs it."""

from typing import Any

import streamlit as st

from scfviz.jobs import JobStatus
from scfviz.ui.frame import describe, job_panel, models, sources, state
from scfviz.ui.frame.text import duration, plain, plural

_LONG_SECONDS = 3600.0


def request_of(source: sources.Source) -> dict[str, Any]:
    """The part of an embedding's options that the dataset and model in use decide."""
    return {
        "dataset": str(source.path.resolve()),
        "checkpoint": str(models.folder_of(state.model()).resolve()),
        "filters": state.filters() or None,
        "gene_column": state.gene_column(),
    }


def find_job(source: sources.Source) -> JobStatus | None:
    """The computation to show: the one in the address, else the newest that fits dataset, model and filters.

    A demo needs no asking: its computation is started when there is none.
    """
    job = known_job(source)
    if job is None and source.ref.startswith("demo:") and not state.wants_anew():
        start(source)
        job = job_panel.status_of(state.job())
    return job


def known_job(source: sources.Source) -> JobStatus | None:
    """The same, but nothing is started."""
    if state.wants_anew():
        return None
    if state.job():
        job = job_panel.status_of(state.job())
        if job.kind == "embedding" and job_panel.is_of(job, source.path):
            return job
    job = job_panel.newest("embedding", request_of(source))
    state.choose_job(job.id if job else None)
    return job


def start(source: sources.Source, **options: Any) -> None:
    """Ask for the embedding of the dataset in use and show it from now on."""
    state.choose_job(job_panel.ask("embedding", request_of(source) | options))


def describe_time(about: dict[str, Any]) -> str:
    """How long the embedding of a whole dataset will take with the model in use, in words, and how that is known."""
    from scfviz.jobs import Workspace, result_dir
    from scfviz.jobs.workspace import read_json
    from scfviz.tasks.embedding.run import EMBEDDING, expected_seconds

    info, measured = models.info_of(state.model()), None
    for job in job_panel.visible_jobs():
        if job.kind == "embedding" and job.state == "done" and job.identity.get("checkpoint") == info.hash:
            report = read_json(result_dir(Workspace(), job.id) / "report.json") or {}
            seconds, n_cells = report.get("seconds", {}).get(EMBEDDING), report.get("n_obs")
            if seconds and n_cells:
                measured = max(seconds - 3.0, 0.1) / n_cells  # the first seconds load the program
                break
    total = sum(expected_seconds(info.config, about["n_obs"], about["median_genes"] + 2, seconds_per_cell=measured))
    how = "judged by the last computation here" if measured else "judged by its size; not measured on this computer yet"
    text = f"About {duration(total)} for {plural(about['n_obs'], 'cell')}, {how}."
    if total > _LONG_SECONDS:
        text += " A part of the cells is faster: select some on the Explorer page and open them as a dataset."
    return text


def _show_time(about: dict[str, Any]) -> None:
    st.caption(f":material/schedule: {plain(describe_time(about))}")


def show_request(source: sources.Source) -> None:
    """The form that asks for an embedding; a file that cannot be read is said before it is asked for.

    Raises
    ------
    DatasetError, GeneError
        The file cannot be used.
    """
    with st.spinner("Opening the file …"):
        about = describe.describe(source, state.gene_column())
    describe.refuse_for_model(about)
    n_obs = about["n_obs"]
    depth_kinds = ("The cell's own", "A number of counts", "Times its own")
    with st.container(border=True, key="card-request"):
        st.markdown("#### Make the map")
        st.markdown(
            "The model reads every cell, and the baseline is computed beside it. The defaults suit most datasets."
        )
        with st.expander("Options", icon=":material/tune:"):
            left, middle, right = st.columns(3, gap="large")
            with left:
                depth = st.radio(
                    "Target read depth",
                    depth_kinds,
                    key="depth_kind",
                    help="The model can embed a cell as if it had been sequenced deeper.",
                )
                target = fold = None
                if depth == depth_kinds[1]:
                    target = st.number_input("Counts per cell", 100.0, 1e7, 10_000.0, 1_000.0, format="%.0f")
                elif depth == depth_kinds[2]:
                    fold = st.number_input("Times", 1.0, 100.0, 5.0, 1.0)
            pooling = middle.radio(
                "Pooling of the gene tokens",
                ("all", "max"),
                key="pooling",
                captions=("depth tokens, maximum and mean", "maximum alone, a quarter of the numbers"),
            )
            precision = right.radio(
                "Precision",
                ("auto", "fp32", "bf16"),
                key="precision",
                captions=("what is fast and safe here", "exact, slower", "rounded, faster"),
            )
        _show_time(about)
        job_panel.show_memory("embedding", request_of(source), n_obs)
        if st.button("Compute the map", type="primary", icon=":material/play_arrow:"):
            start(source, target_depth=target, depth_fold=fold, pooling=pooling, precision=precision)
            st.rerun()
