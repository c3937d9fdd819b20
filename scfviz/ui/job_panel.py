"""Computations on screen: ask for one, watch it, stop it, take it up again. They run in a process of their own."""

from typing import Any

import streamlit as st

from scfviz.jobs import JobStatus, Workspace, cancel, list_jobs, resume, status, submit
from scfviz.ui import page, state
from scfviz.ui.text import duration, plain

_LOOK_AGAIN_SECONDS = 1.0


def ask(kind: str, options: dict[str, Any]) -> str:
    """Ask for a computation; the same request again finds the same one. Returns its id."""
    return submit(Workspace(), kind, options)


def status_of(job_id: str) -> JobStatus:
    """Where a computation stands."""
    return status(Workspace(), job_id)


def newest(kind: str, wanted: dict[str, Any]) -> JobStatus | None:
    """The newest computation of a kind whose options include `wanted`; `None` where there is none."""
    for job in list_jobs(Workspace()):
        if job.kind == kind and all(job.options.get(name) == value for name, value in wanted.items()):
            return job
    return None


def show_progress(job_id: str, title: str) -> None:
    """A card that follows a computation by itself and reloads the page when it is done."""
    with st.container(border=True, key="card-progress"):
        st.markdown(f"**{title}**")
        if status_of(job_id).is_active:
            _follow(job_id)
        else:
            _show_stopped(status_of(job_id))


@st.fragment(run_every=_LOOK_AGAIN_SECONDS)
def _follow(job_id: str) -> None:
    with page.guard():
        job = status_of(job_id)
        if not job.is_active:
            st.rerun(scope="app")
        if job.state == "queued":
            ahead = sum(other.is_active and other.created_at < job.created_at for other in list_jobs(Workspace()))
            text = "Waiting for another computation to end" if ahead else "Starting"
        else:
            left = "" if job.seconds_left is None else f" · about {duration(job.seconds_left)} left"
            text = f"{job.stage}{left}"
        st.progress(min(max(job.fraction, 0.0), 1.0), text=plain(text))
        with st.container(horizontal=True, vertical_alignment="center"):
            if st.button("Stop", icon=":material/stop_circle:", key="stop-job"):
                cancel(Workspace(), job_id)
                st.rerun(scope="fragment")
            st.caption("It runs by itself: visit other pages or close the browser, nothing is lost.")


def _show_stopped(job: JobStatus) -> None:
    if job.state == "failed":
        error = job.error or {}
        page.show_error(
            "The computation stopped", error.get("found", ""), error.get("needed", ""), error.get("advice", "")
        )
    else:
        word = "was stopped" if job.state == "cancelled" else "was interrupted, perhaps by a restart of the computer"
        st.info(f"This computation {word}. What it had finished is kept.", icon=":material/pause_circle:")
    with st.container(horizontal=True):
        if st.button("Go on" if job.state != "failed" else "Try again", type="primary", icon=":material/play_arrow:"):
            resume(Workspace(), job.id)
            st.rerun()
        if st.button("Choose other options", icon=":material/tune:"):
            state.choose_job(None)
            state.ask_anew()
            st.rerun()
