"""Asking for an embedding. Light to import: the start page needs it."""

from typing import Any

import streamlit as st

from scfviz.jobs import JobStatus
from scfviz.tasks.registry import get_task
from scfviz.ui.frame import job_panel, models, sources, state
from scfviz.ui.frame.text import duration, plain, plural
from scfviz.ui.tasks import request

_LONG_SECONDS = 3600.0

TASK = get_task("embedding")


def find_job(source: sources.Source) -> JobStatus | None:
    """The computation to show, see `request.find_job`; that of a demo is started when there is none."""
    job = known_job(source)
    if job is None and source.ref.startswith("demo:") and not state.wants_again():
        job = request.start(TASK, source)
    return job


def known_job(source: sources.Source) -> JobStatus | None:
    """The same, but nothing is started."""
    return request.find_job(TASK, source)


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
    """The form that asks for an embedding; a file that cannot be read is reported before it is asked for.

    Raises
    ------
    DatasetError, GeneError
        The file cannot be used.
    """
    about = request.describe_cells(source)
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
        job_panel.show_memory("embedding", request.options_of(TASK, source), n_obs)
        if st.button("Compute the map", type="primary", icon=":material/play_arrow:"):
            request.start(TASK, source, target_depth=target, depth_fold=fold, pooling=pooling, precision=precision)
            st.rerun()
