"""The pages of the app: one table for the router and for links between pages."""

from typing import NamedTuple

import streamlit as st

from scfviz.places import ROOT
from scfviz.tasks.registry import TASKS
from scfviz.tasks.spec import load
from scfviz.ui.frame import state

_GENERIC_PAGE = "scfviz.ui.tasks.page:show"  # by name, as the registry names screens: it needs this table itself
_FOLDER = ROOT / "pages"


class Route(NamedTuple):
    """Where a page stands in the menu, what it is called, and its icon."""

    section: str
    title: str
    icon: str


_FIRST = {
    "home": Route("", "Home", ":material/home:"),
    "dataset": Route("Data", "Dataset", ":material/database:"),
}
_LAST = {
    "explorer": Route("Analyse", "Explorer", ":material/travel_explore:"),
    "model": Route("Reference", "Model", ":material/neurology:"),
    "adapt": Route("Reference", "Adapting", ":material/school:"),
    "workspace": Route("Reference", "Workspace", ":material/inventory_2:"),
}


def all_routes() -> dict[str, Route]:
    """The pages by name, in the order of the menu: those of the tasks follow from their lines."""
    of_tasks = {task.page: Route(task.section, task.title, task.icon) for task in TASKS.values() if task.page}
    return _FIRST | of_tasks | _LAST


def page_of(name: str) -> st.Page:
    """The Streamlit page called `name`, whether or not the router has registered it.

    A task without a file of its own in `pages/` gets the generic page.
    """
    route, path = all_routes()[name], _FOLDER / f"{name}.py"

    def show_task() -> None:
        load(_GENERIC_PAGE)(next(task for task in TASKS.values() if task.page == name))

    return st.Page(
        path if path.exists() else show_task,
        title=route.title,
        icon=route.icon,
        default=name == "home",
        url_path=None if name == "home" else name,
    )


def sections() -> dict[str, list]:
    """The pages by section, in the order of the menu."""
    pages: dict[str, list] = {}
    for name, route in all_routes().items():
        pages.setdefault(route.section, []).append(page_of(name))
    return pages


def link(name: str, label: str | None = None, *, icon: str | None = None) -> None:
    """A link to another page that keeps the dataset in the address, so that it can be opened in a new tab."""
    st.page_link(page_of(name), label=label, icon=icon, query_params=state.address())


def go(name: str) -> None:
    """Leave this page for another one, keeping the dataset in the address."""
    st.switch_page(page_of(name), query_params=state.address())
