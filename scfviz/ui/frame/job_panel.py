"""Computations on screen: ask for one, watch it, stop it, take it up again. They run in a process of their own.

Every page gets at computations through this module: it knows who looks, and what they may see and change.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from scfviz import jobs
from scfviz.data.source import refuse_outside
from scfviz.errors import AccessError, JobError
from scfviz.jobs import JobStatus, Workspace, access, expected_wait, jobs_ahead
from scfviz.jobs.kinds import get_kind, lane_of, need_of
from scfviz.jobs.memory import estimate
from scfviz.jobs.slots import slots
from scfviz.places import ASSETS
from scfviz.ui.frame import page, sources, state
from scfviz.ui.frame.text import duration, plain, plural

_LOOK_AGAIN_SECONDS = 1.0
_ASKED = "scfviz.asked"


def ask(kind: str, options: dict[str, Any]) -> str:
    """Ask for a computation; the same request again finds the same one. Returns its id.

    Raises
    ------
    DatasetError
        An option names a file outside of the folders that this app may read: it came from a file that anybody wrote.
    """
    # classifiers and predictors that ship are data of tasks, too
    folders = [*sources.allowed_folders(), Workspace().root, ASSETS]
    for name in get_kind(kind).datasets(options):
        if not name.startswith(access.JOB):
            refuse_outside(Path(name).expanduser().resolve(), Path(name), folders)
    return jobs.submit(Workspace(), kind, options, asked_by=state.owner())


def ask_once(kind: str, options: dict[str, Any]) -> JobStatus:
    """Where a computation stands that a page needs whenever it is drawn; it is asked for when this visitor comes first.

    One that failed or was stopped stays so: asking again would start it again with every click.
    """
    asked = st.session_state.setdefault(_ASKED, {})
    # The store of genes, which may come later, makes a computation faster and nothing else.
    same = {name: value for name, value in options.items() if name != "gene_store"}
    key = f"{kind} {json.dumps(same, sort_keys=True)}"
    try:
        return status_of(asked[key])
    except (KeyError, JobError):  # not asked for yet, or removed since
        asked[key] = ask(kind, options)
        return status_of(asked[key])


def forget(job_id: str) -> None:
    """The next `ask_once` asks for this computation again."""
    asked = st.session_state.get(_ASKED, {})
    st.session_state[_ASKED] = {key: other for key, other in asked.items() if other != job_id}


def status_of(job_id: str) -> JobStatus:
    """Where a computation stands.

    Raises
    ------
    JobError
        There is none; AccessError: it is on data that this visitor may not read.
    """
    job = jobs.status(Workspace(), job_id)
    if not access.may_see(Workspace(), job, state.owner()):
        raise access.not_shared()
    return job


def visible_jobs() -> list[JobStatus]:
    """All computations that this visitor may know of, the newest first."""
    owner = state.owner()
    return [job for job in jobs.list_jobs(Workspace()) if access.may_see(Workspace(), job, owner)]


def may_change(job: JobStatus) -> bool:
    """Whether this visitor may stop, resume and delete a computation."""
    return access.may_change(Workspace(), job, state.owner())


def stop(job_id: str) -> None:
    """Stop a computation; AccessError as for `resume` and `remove` when it is not this visitor's to stop."""
    _refuse_others(job_id)
    jobs.cancel(Workspace(), job_id)


def resume(job_id: str) -> None:
    """Take up a computation that was stopped."""
    _refuse_others(job_id)
    jobs.resume(Workspace(), job_id)


def remove(job_id: str) -> None:
    """Delete a computation with its result."""
    _refuse_others(job_id)
    jobs.remove(Workspace(), job_id)


def _refuse_others(job_id: str) -> None:
    if not may_change(status_of(job_id)):
        raise AccessError(
            "This computation is on another visitor's data, and somebody else asked for it.",
            "Only the owner of the data, or who asked for it, may stop, resume or delete it.",
        )


def newest(kind: str, wanted: dict[str, Any]) -> JobStatus | None:
    """The newest computation of a kind whose options include `wanted`; `None` where there is none.

    `dataset` is a path; a computation on the same content at another path counts, too, unless it is on somebody
    else's upload.
    """
    wanted = dict(wanted)
    path = wanted.pop("dataset", None)
    for job in visible_jobs():
        same = job.kind == kind and all(job.options.get(name) == value for name, value in wanted.items())
        if same and (path is None or is_of(job, Path(path))):
            return job
    return None


def is_of(job: JobStatus, path: Path) -> bool:
    """Whether a computation belongs to a dataset: it was asked for at this path, or for the same content elsewhere."""
    if job.options.get("dataset") == str(path.resolve()):
        return True
    from scfviz.data.source import dataset_id

    if "dataset" not in job.identity or job.identity["dataset"] != dataset_id(path):
        return False
    return job.scope in ("", access.scope_of(access.grants_of(Workspace(), path)))


def show_memory(kind: str, options: dict[str, Any], n_obs: int) -> None:
    """What a computation will need, before it is asked for; a warning where it cannot fit."""
    found = estimate(need_of(kind, options), n_obs)
    if found is None:
        return
    if found.fits:
        st.caption(f":material/memory: {found.text}")
    else:
        st.warning(
            f"{found.text} It will be refused as it is: take fewer cells, or close other programs.",
            icon=":material/memory:",
        )


def show_progress(job_id: str, title: str, *, place: str = "", on_leave: Callable[[], None] | None = None) -> None:
    """A card that follows a computation by itself and reloads the page when it is done.

    Parameters
    ----------
    place
        Tells several cards on one page apart.
    on_leave
        What "Choose other options" does before the page is drawn again; without it the page asks for its
        computation again.
    """
    with st.container(border=True, key=f"card-progress{place}"):
        st.markdown(f"**{title}**")
        job = status_of(job_id)
        if job.is_active:
            follow(job_id)
            with st.container(horizontal=True, vertical_alignment="center"):
                # outside of what is redrawn every second: a click that meets such a redraw is lost
                if may_change(job):
                    offer_stop(job_id, key=f"stop-job{place}")
                st.caption("It runs by itself: visit other pages or close the browser, nothing is lost.")
        else:
            _show_stopped(job, place, on_leave)


def offer_stop(job_id: str, *, key: str) -> None:
    """A button that stops a computation. It acts before the page is drawn: a run that is cut short keeps the click."""
    st.button("Stop", icon=":material/stop_circle:", key=key, on_click=page.guarded(stop), args=(job_id,))


def offer_resume(job_id: str, word: str = "Resume", *, key: str) -> None:
    """A button that takes a computation up again; as `offer_stop`."""
    icon = ":material/play_arrow:"
    st.button(word, type="primary", icon=icon, key=key, on_click=page.guarded(resume), args=(job_id,))


@st.fragment(run_every=_LOOK_AGAIN_SECONDS)
def follow(job_id: str) -> None:
    """A bar that follows a computation by itself and reloads the page when it is done."""
    with page.guard():
        job = status_of(job_id)
        if not job.is_active:
            st.rerun(scope="app")
        if job.state == "queued":
            text = describe_wait(jobs_ahead(Workspace(), job_id), len(slots(lane_of(job.kind))))
        else:
            left = "" if job.seconds_left is None else f" · about {duration(job.seconds_left)} left"
            text = f"{job.stage}{left}"
        st.progress(min(max(job.fraction, 0.0), 1.0), text=plain(text))


def describe_wait(ahead: list[JobStatus], n_slots: int) -> str:
    """Why a computation waits, and when it can be expected to start, as far as that is known.

    Parameters
    ----------
    ahead
        What is done before it, see `scfviz.jobs.jobs_ahead`.
    n_slots
        How many run at once.
    """
    if len(ahead) < n_slots:
        return "Starting: the program behind it is loaded first, which takes some seconds"
    n_running = sum(job.state == "running" for job in ahead)
    text = f"Number {len(ahead) - n_running + 1} in the queue, {plural(n_running, 'computation')} running"
    seconds, is_least = expected_wait(ahead, n_slots)
    if not is_least:
        return f"{text} · starts in about {duration(max(seconds, 1))}"
    if seconds:
        return f"{text} · starts in {duration(seconds)} at the earliest"
    return f"{text} · how long they take is not known yet"


def _show_stopped(job: JobStatus, place: str, on_leave: Callable[[], None] | None) -> None:
    if job.state == "failed":
        error = job.error or {}
        page.show_error(
            "The computation stopped", error.get("found", ""), error.get("needed", ""), error.get("advice", "")
        )
    else:
        word = "was stopped" if job.state == "cancelled" else "was interrupted, perhaps by a restart of the computer"
        st.info(f"This computation {word}. What it had finished is kept.", icon=":material/pause_circle:")
    with st.container(horizontal=True):
        if may_change(job):
            offer_resume(job.id, "Resume" if job.state != "failed" else "Try again", key=f"resume-job{place}")
        leave = on_leave or _ask_again
        st.button("Choose other options", icon=":material/tune:", key=f"leave-job{place}", on_click=leave)


def _ask_again() -> None:
    state.ask_again()
