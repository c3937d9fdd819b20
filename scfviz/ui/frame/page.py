"""How every page opens, and the one place where trouble becomes a panel."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import streamlit as st

from scfviz.errors import ChoiceError, ScfvizError
from scfviz.jobs import Workspace, start_worker
from scfviz.threads import prepare_threads
from scfviz.ui.frame import account, routes, sharing, sources, state
from scfviz.ui.frame.collector import collector
from scfviz.ui.frame.text import plain, shorten

_HERE = Path(__file__).resolve().parents[1]
_HISTORY = f"<script>{(_HERE / 'frame' / 'history.js').read_text(encoding='utf-8')}</script>"
_ROUTED, _DEMO_OPENED = "scfviz.routed", "scfviz.demo_opened"
_log = logging.getLogger(__name__)


@contextmanager
def screen(name: str, lead: str, *, title: str | None = None) -> Iterator[None]:
    """Open a page: frame, title, what is in use; the page itself runs guarded.

    Parameters
    ----------
    name
        The page's name in `routes.all_routes`.
    lead
        One sentence that says what the page is for.
    title
        Heading, where it isn't the name in the menu.
    """
    _enter_by_router()
    route = routes.all_routes()[name]
    configure(f"{route.title} · scfviz")
    st.html(_HERE / "style.css")
    st.html(_HISTORY, unsafe_allow_javascript=True)
    st.logo(_HERE / "logo.svg", icon_image=_HERE / "icon.svg", size="large")
    with guard():
        _take_up_waiting_jobs(str(Workspace().root))
        state.restore()
        _open_first_demo()
    state.remember_visitor()
    with st.sidebar:
        _sidebar()
    st.title(title or route.title, anchor=False)
    with st.container(key="lead"):
        st.markdown(lead)
    with guard():
        yield


def route() -> None:
    """Run the page that the address asks for, with the menu beside it.

    The icon of the browser's tab is set first: otherwise the browser fetches the menu's icon for it from the
    internet.
    """
    prepare_threads()
    collector.set_aside()
    st.session_state[_ROUTED] = True
    configure("scfviz")
    st.navigation(routes.sections(), expanded=True).run()


def _enter_by_router() -> None:
    """Send the first visitor of a fresh server, who followed a link to a page, through the router.

    Until `st.navigation` was called once, Streamlit takes `pages/` for its older kind of app and leaves the router out.
    """
    if not st.session_state.get(_ROUTED):
        st.session_state[_ROUTED] = True
        configure("scfviz")
        st.navigation(routes.sections(), expanded=True)
        st.rerun()


def configure(title: str) -> None:
    """Title, icon and width of the browser's page."""
    st.set_page_config(page_title=title, page_icon=_HERE / "icon.svg", layout="wide")


@contextmanager
def guard() -> Iterator[None]:
    """Turn an error into one panel; the body of every page and of every fragment runs in here."""
    try:
        yield
    except ScfvizError as error:
        show_error(error.title, error.found, error.needed, error.advice)
        if isinstance(error, ChoiceError) and error.choices:
            _offer(error.choices)
    except Exception:
        _log.exception("An unexpected error on a page")
        show_error(
            "Something went wrong in scfviz itself",
            "This is a fault of the program, not of your data. Nothing was lost.",
            "",
            "Reload the page. If it happens again, please report it with the last lines of the server's log.",
        )


def guarded(act: Callable[..., None]) -> Callable[..., None]:
    """What a button does, with an error in it shown as one on a page."""

    def do(*args: Any) -> None:
        with guard():
            act(*args)

    return do


def _offer(choices: tuple[str, ...]) -> None:
    """The datasets that the file or folder in use holds, one to open instead."""
    inside, found, _ = f"{state.dataset() or ''}/".rpartition("/" + choices[0].partition("/")[0] + "/")
    if not found:
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("What to open", choices, key="choice-part")
        if st.button("Open", key="choice-open", type="primary", icon=":material/play_arrow:"):
            state.choose_dataset(f"{inside}/{name}")
            st.rerun()


def show_error(title: str, found: str, needed: str = "", advice: str = "") -> None:
    """The panel for trouble: what was found, what was needed, what to do."""
    parts = [("Found", found), ("Needed", needed), ("What to do", advice)]
    lines = [f"**{plain(title)}**"] + [f"**{word}** · {plain(text)}" for word, text in parts if text]
    st.error("\n\n".join(lines), icon=":material/error:")


def show_empty(title: str, text: str) -> None:
    """An empty page: what is missing; the caller adds the button that mends it below."""
    st.markdown(f"#### {title}")
    st.markdown(text)


def untrained_notice() -> None:
    """Said wherever results of a model without training are shown."""
    st.warning(
        "**Untrained model.** These weights are random: the model has seen no cell, so its map shows how the app "
        "works, not what your cells are. Import trained weights on the Model page. The baseline beside it needs no "
        "model and is a real result.",
        icon=":material/science:",
    )


def _open_first_demo() -> None:
    """With `SCFVIZ_DEMO=1` (as `make app` sets it) a visitor without a dataset begins with the demo, on any page."""
    if os.environ.get("SCFVIZ_DEMO") == "1" and state.dataset() is None and not st.session_state.get(_DEMO_OPENED):
        st.session_state[_DEMO_OPENED] = True
        state.choose_dataset(sources.FIRST_DEMO)


@st.cache_resource(show_spinner=False)
def _take_up_waiting_jobs(root: str) -> None:
    """Once per server: computations that waited when the last one ended go on."""
    start_worker(Workspace(root))


def _sidebar() -> None:
    ref = state.dataset()
    with st.container(key="sidebar-dataset"):
        st.caption("Dataset in use")
        st.markdown(f"**{plain(shorten(sources.display_title(ref), 44))}**" if ref else "none yet")
        if ref:
            sharing.show(ref, "sidebar")
        account.show()
