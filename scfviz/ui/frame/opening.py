"""The dataset that a page works on: there must be one, and a large file that nobody opened yet is checked first,
outside of the page, with progress, Stop, and room for others.
"""

from typing import Any

import streamlit as st

from scfviz.data.source import dataset_id, take_fingerprint
from scfviz.errors import DatasetError
from scfviz.jobs import JobStatus
from scfviz.ui.frame import describe, job_panel, page, routes, sources, state

LARGE_BYTES = 100_000_000  # on disk; smaller files are checked while the page is drawn
_ASK_PAGE = ("GeneError", "ChoiceError")  # the page finds these at once itself, and offers what can be chosen


def require_dataset() -> sources.Source:
    """The dataset in use, opened before or checked by now; without one the page says how to get one and stops."""
    ref = state.dataset()
    if ref is None:
        with st.container(border=True, key="card-empty"):
            page.show_empty(
                "No dataset yet", "Choose one of your own files, or open the demo: 559 immune cells with all genes."
            )
            with st.container(horizontal=True):
                if st.button("Open the demo", type="primary", icon=":material/play_arrow:"):
                    state.choose_dataset(sources.FIRST_DEMO)
                    st.rerun()
                if st.button("Choose a dataset", icon=":material/database:"):
                    routes.go("dataset")
        st.stop()
    source = sources.resolve(ref)
    wait(source)
    return source


def wait(source: sources.Source) -> None:
    """Go on at once where the file is small or was checked before; else show how far the check is, and stop the page.

    Raises
    ------
    DatasetError
        What the check found against the file.
    """
    if describe.known(source, state.gene_column()) or take_fingerprint(source.path).size < LARGE_BYTES:
        return
    job = _check_job(source, {"dataset": str(source.path.resolve()), "gene_column": state.gene_column()})
    if job.state == "failed":
        error = job.error or {}
        if error.get("kind") in _ASK_PAGE:
            return
        raise DatasetError(error.get("found", ""), error.get("needed", ""), error.get("advice", ""))
    if job.state != "done":
        job_panel.show_progress(job.id, f"Reading and checking {source.title}", place="-check")
        st.stop()


def _check_job(source: sources.Source, options: dict[str, Any]) -> JobStatus:
    job = job_panel.ask_once("check", options)
    if job.identity.get("dataset") != dataset_id(source.path):  # another content lies there by now
        job_panel.forget(job.id)
        job = job_panel.ask_once("check", options)
    return job
