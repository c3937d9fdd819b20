"""The pages of the app: one table for the router and for links between pages."""

from pathlib import Path
from typing import NamedTuple

import streamlit as st

from scfviz.ui.frame import state

_FOLDER = Path(__file__).resolve().parents[3] / "pages"


class Route(NamedTuple):
    section: str
    title: str
    icon: str


ROUTES = {
    "home": Route("", "Home", ":material/home:"),
    "dataset": Route("Data", "Dataset", ":material/database:"),
    "cell_embedding": Route("Analyse", "Cell embedding", ":material/scatter_plot:"),
    "explorer": Route("Analyse", "Explorer", ":material/travel_explore:"),
    "model": Route("Reference", "Model", ":material/neurology:"),
    "workspace": Route("Reference", "Workspace", ":material/inventory_2:"),
}


def page_of(name: str) -> st.Page:
    """The Streamlit page called `name`, whether or not the router has registered it."""
    route = ROUTES[name]
    return st.Page(
        _FOLDER / f"{name}.py",
        title=route.title,
        icon=route.icon,
        default=name == "home",
        url_path=None if name == "home" else name,
    )


def sections() -> dict[str, list]:
    """The pages by section, in the order of the menu."""
    pages: dict[str, list] = {}
    for name, route in ROUTES.items():
        pages.setdefault(route.section, []).append(page_of(name))
    return pages


def link(name: str, label: str | None = None, *, icon: str | None = None) -> None:
    """A link to another page that keeps the dataset in the address, so that it can be opened in a new tab."""
    st.page_link(page_of(name), label=label, icon=icon, query_params=state.address())


def go(name: str) -> None:
    """Leave this page for another one, keeping the dataset in the address."""
    st.switch_page(page_of(name), query_params=state.address())
