"""The page of drug response: bulk samples, or single cells. Light to import."""

import streamlit as st

from scfviz.tasks.registry import get_task
from scfviz.ui.frame import state

TASK = get_task("drug_response")
SAMPLES, CELLS = "Samples", "Cells"


def show() -> str:
    """The whole page; returns the part that is shown."""
    has_cells = any(name.startswith("drug_sensitivity") for name in state.jobs())
    part = st.segmented_control(
        "What is asked about",
        [SAMPLES, CELLS],
        default=CELLS if has_cells else SAMPLES,
        required=True,
        key="drug-part",
        label_visibility="collapsed",
    )
    if part == CELLS:
        from scfviz.ui.tasks.drug_response import cells

        cells.show()
    else:
        from scfviz.ui.tasks.drug_response import samples

        samples.show()
    return part
