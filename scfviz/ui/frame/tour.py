"""A first look at the explorer in one minute: a card in the corner that points at one part of the page after another.

It opens by itself once per workspace, takes no room, blocks nothing, and can be opened again beside the title. The
address `?tour=off` leaves it out.
"""

from typing import NamedTuple

import streamlit as st

from scfviz.jobs import Workspace
from scfviz.jobs.workspace import read_json, write_json

_AT = "scfviz.tour"


class Step(NamedTuple):
    """One stop: the text, and the part of the page that gets a frame (a CSS selector, or a variable of the map)."""

    title: str
    text: str
    part: str


STEPS = (
    Step(
        "Colour",
        "The maps show your cells; a point is a cell. Choose above them what the colours mean: a label, a gene "
        "(symbol, alias or Ensembl ID), a value, or a mix of genes.",
        ".st-key-x_color",
    ),
    Step(
        "Move",
        "Drag to move a map, click it and turn the wheel to zoom (or pinch). Point at a cell to see what it is on all "
        "maps at once.",
        ".st-key-explorer-channels",
    ),
    Step(
        "Select",
        "Take the lasso or the rectangle and draw around cells. Hold Ctrl to add, Alt to subtract. Cells outside turn "
        "faint but stay.",
        "--tour-toolbar",
    ),
    Step(
        "Legend",
        "Click a group to hide it. Point at it for more: show only this one, select its cells, or give it another "
        "name with the pencil.",
        "--tour-legend",
    ),
    Step(
        "Keep",
        "What you select can be undone, combined, written as a rule, and kept under a name for your next visit.",
        ".st-key-card-selection",
    ),
    Step(
        "Ask",
        "Ask a question about the selection, such as which genes differ. A click on a gene colours the maps by it. "
        "Gene sets then say what these genes do, and where the file names donors, groups are compared between donors, "
        "too.",
        ".st-key-card-panel",
    ),
    Step(
        "Share",
        "The address of this page holds the view: send it to a colleague on the same server. An upload opens for them "
        "once you share it. Figures and tables are under Download. Press ? at any time for the shortcuts.",
        ".st-key-card-explorer .stPopover",
    ),
)


@st.fragment
def show() -> None:
    """The card of the tour, or the button that opens it."""
    if _AT not in st.session_state:
        is_new = st.query_params.get("tour") != "off" and read_json(_path()) is None
        st.session_state[_AT] = 0 if is_new else None
    at = st.session_state[_AT]
    with st.container(key="tour-area"):
        if at is None:
            st.button(
                "One-minute tour", icon=":material/tour:", type="tertiary", on_click=_go, args=(0,), key="tour-open"
            )
            return
        step = STEPS[at]
        frame = "2px solid var(--accent)"
        rule = (
            f".stApp {{ {step.part}: {frame}; }}"
            if step.part.startswith("--")
            else f"{step.part} {{ outline: {frame}; }}"
        )
        st.html(f"<span></span><style>{rule}</style>")  # a style alone would outlive the card
        with st.container(border=True, key="tour"):
            st.markdown(f"**{step.title}** · {at + 1} of {len(STEPS)}")
            st.markdown(step.text)
            with st.container(horizontal=True, horizontal_alignment="right"):
                is_last = at + 1 == len(STEPS)
                if not is_last:
                    st.button("Skip the tour", type="tertiary", on_click=_go, args=(None,), key="tour-skip")
                if at:
                    st.button("Back", on_click=_go, args=(at - 1,), key="tour-back")
                st.button(
                    "Done" if is_last else "Next",
                    type="primary",
                    on_click=_go,
                    args=(None if is_last else at + 1,),
                    key="tour-next",
                )


def _go(at: int | None) -> None:
    st.session_state[_AT] = at
    if at is None and read_json(_path()) is None:
        write_json(_path(), {"seen": True})


def _path():
    return Workspace().root / "tour.json"
