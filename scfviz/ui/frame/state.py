"""What a visitor has chosen: ids and options in session and address, so that a link or a refresh restores the view."""

import re
import secrets
import time
from typing import NamedTuple

import streamlit as st
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from scfviz.errors import OptionError
from scfviz.jobs.access import owner_of
from scfviz.tasks.registry import TASKS

_DATASET, _JOBS, _FILTERS, _MODEL = "scfviz.dataset", "scfviz.jobs", "scfviz.filters", "scfviz.model"
_GENES, _AGAIN = "scfviz.genes", "scfviz.again"
_NAMES = ("dataset", "model", "genes")
FIRST_TASK = "embedding"  # the address calls its computation `job`, that of another task `job_TASK`
_OF_DATASET = ("sel", "comparison")  # parts of the address that mean nothing for another dataset
_VISITOR, _COOKIE, _KEY = "scfviz.visitor", "scfviz_visitor", re.compile(r"[0-9a-f]{32}")
_FORGOTTEN_AFTER_SECONDS = 24 * 3600.0
FILTER_TYPES = {"min_counts": float, "min_genes": int, "max_pct_mt": float}


def restore() -> None:
    """Bring session and address together when a page opens; the address wins, because it is what the visitor asked for.

    Raises
    ------
    OptionError
        The address holds a filter that is no number.
    """
    asked = st.query_params
    if "dataset" in asked and asked["dataset"] != dataset():
        choose_dataset(asked["dataset"], keep_address=True)
    for task in TASKS:
        if _parameter(task) in asked:
            st.session_state[_JOBS] = jobs() | {task: asked[_parameter(task)]}
    if "genes" in asked:
        st.session_state[_GENES] = asked["genes"]
    if "model" in asked:
        st.session_state[_MODEL] = asked["model"]
    given = {name: asked[name] for name in FILTER_TYPES if name in asked}
    if given:
        st.session_state[_FILTERS] = {name: _filter_value(name, text) for name, text in given.items()}
    _write_address()
    _note_use()


def dataset() -> str | None:
    """The reference of the dataset in use, such as `demo:pbmc68k_reduced`; see `sources`."""
    return st.session_state.get(_DATASET)


def choose_dataset(ref: str | None, *, keep_address: bool = False) -> None:
    """Use another dataset; results and filters of the last one are let go."""
    st.session_state[_DATASET] = ref
    for key in (_JOBS, _FILTERS, _GENES):
        st.session_state.pop(key, None)
    if not keep_address:
        for name in _OF_DATASET:
            if name in st.query_params:
                del st.query_params[name]
        _write_address()


def jobs() -> dict[str, str]:
    """By task: the id of the computation whose result is on screen."""
    return dict(st.session_state.get(_JOBS) or {})


def job(task: str = FIRST_TASK) -> str | None:
    """The id of a task's computation whose result is on screen."""
    return jobs().get(task)


def choose_job(job_id: str | None, task: str = FIRST_TASK) -> None:
    """Show another computation of a task."""
    chosen = jobs() | ({task: job_id} if job_id else {})
    st.session_state[_JOBS] = {name: other for name, other in chosen.items() if job_id or name != task}
    st.session_state[_AGAIN] = {name for name in st.session_state.get(_AGAIN) or () if name != task}
    _write_address()


def ask_again(task: str = FIRST_TASK) -> None:
    """The visitor wants to choose options again although there is a computation with the last ones."""
    choose_job(None, task)
    st.session_state[_AGAIN] = {*(st.session_state.get(_AGAIN) or ()), task}


def wants_again(task: str = FIRST_TASK) -> bool:
    """Whether `ask_again` was called since a computation was chosen."""
    return task in (st.session_state.get(_AGAIN) or ())


def filters() -> dict[str, float]:
    """The cell filters in use, by name; empty when all cells are kept."""
    return dict(st.session_state.get(_FILTERS) or {})


def choose_filters(values: dict[str, float]) -> None:
    """Use other cell filters; a result computed with the last ones is let go."""
    st.session_state[_FILTERS] = values
    st.session_state.pop(_JOBS, None)
    _write_address()


def gene_column() -> str | None:
    """The column of the file that holds the names of the genes; `None` leaves the choice to its content."""
    return st.session_state.get(_GENES)


def choose_gene_column(column: str | None) -> None:
    """Take gene names from another column; a result computed with the last one is let go."""
    st.session_state[_GENES] = column
    st.session_state.pop(_JOBS, None)
    _write_address()


def model() -> str:
    """The reference of the checkpoint in use; see `models`."""
    return st.session_state.get(_MODEL, "default")


def choose_model(ref: str) -> None:
    """Use another checkpoint; a result computed with the last one is let go."""
    st.session_state[_MODEL] = ref
    st.session_state.pop(_JOBS, None)
    _write_address()


def visitor() -> str:
    """The key of this visitor, under which their uploads are kept: who is signed in, else one for this browser.

    It is a secret: it never goes into an address, because an address is given away.
    """
    if getattr(st.user, "is_logged_in", False):
        return f"user {st.user.get('iss', '')} {st.user.get('sub') or st.user.get('email')}"
    if _VISITOR not in st.session_state:
        kept = str(st.context.cookies.get(_COOKIE))
        st.session_state[_VISITOR] = kept if _KEY.fullmatch(kept) else secrets.token_hex(16)
    return st.session_state[_VISITOR]


def owner() -> str:
    """What the key of this visitor is written down as, see `scfviz.jobs.access.owner_of`."""
    return owner_of(visitor())


def remember_visitor() -> None:
    """Let the browser keep the visitor's key, so that their uploads are listed again after a refresh."""
    key = visitor()
    if _KEY.fullmatch(key) and str(st.context.cookies.get(_COOKIE)) != key:
        with st.container(key="visitor"):
            st.html(
                f"<script>document.cookie = '{_COOKIE}={key}; path=/; max-age=31536000; SameSite=Strict'"
                " + (location.protocol === 'https:' ? '; Secure' : '');</script>",
                unsafe_allow_javascript=True,
            )


class Use(NamedTuple):
    """Streamlit's name of a session, when it was last seen, whose it is, and what it has open."""

    session: str
    seen_at: float
    owner: str
    dataset: str | None
    jobs: frozenset[str]


def uses() -> dict[str, Use]:
    """What the visitors of this server have open, by visit; see `visit`."""
    _note_use()
    recent = dict(_uses())
    if runtime.exists():  # a closed browser holds nothing
        recent = {name: use for name, use in recent.items() if runtime.get_instance().is_active_session(use.session)}
    return recent


def visit() -> str:
    """The name of this visit: one tab of a browser."""
    return st.session_state.setdefault("scfviz.visit", secrets.token_hex(8))


def _note_use() -> None:
    known, now, context = _uses(), time.time(), get_script_run_ctx()
    known[visit()] = Use(context.session_id if context else "", now, owner(), dataset(), frozenset(jobs().values()))
    for old in [name for name, use in list(known.items()) if now - use.seen_at > _FORGOTTEN_AFTER_SECONDS]:
        known.pop(old, None)


@st.cache_resource(show_spinner=False)
def _uses() -> dict[str, Use]:
    """By visit; nothing that outlives the server."""
    return {}


def address() -> dict[str, str]:
    """What the address has to hold to restore dataset, result and filters."""
    model_ref = model() if model() != "default" else None
    parts = {"dataset": dataset(), "model": model_ref, "genes": gene_column()}
    parts |= {_parameter(task): job_id for task, job_id in jobs().items()}
    parts |= {name: f"{value:g}" for name, value in filters().items()}
    return {name: value for name, value in parts.items() if value}


def _write_address() -> None:
    """All at once: each change is a step of the browser's history."""
    ours = {*_NAMES, *map(_parameter, TASKS), *FILTER_TYPES}
    now = {name: st.query_params.get_all(name) for name in st.query_params}
    wanted = {name: values for name, values in now.items() if name not in ours}
    wanted |= {name: [value] for name, value in address().items()}
    if wanted != now:
        st.query_params.from_dict(wanted)


def _parameter(task: str) -> str:
    return "job" if task == FIRST_TASK else f"job_{task}"


def _filter_value(name: str, text: str) -> float:
    try:
        return FILTER_TYPES[name](float(text))
    except (ValueError, OverflowError):
        raise OptionError(
            f"The address asks for the filter {name} = '{text[:40]}', which is no number.",
            f"{name} is a number.",
            "Correct the address, or choose the filters again on the Dataset page.",
        ) from None
