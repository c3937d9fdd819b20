"""What this is, the dataset in use, and where to go next."""

import streamlit as st

from scfviz.ui.frame import page
from scfviz.ui.screens import home

LEAD = (
    "Open a single-cell dataset, check it, and see its cells through **scFoundation**, a foundation model of gene "
    "expression, side by side with the standard analysis. Everything runs on this computer; no data leaves it."
)

with page.screen("home", LEAD, title="Single cells through a foundation model"):
    home.show_dataset()
    st.space("small")
    st.markdown("### Where to go next")
    home.show_steps()
    with st.expander("What is scFoundation?", icon=":material/help:"):
        st.markdown(
            "scFoundation (Hao and others, *Nature Methods* 2024, "
            "[doi:10.1038/s41592-024-02305-7](https://doi.org/10.1038/s41592-024-02305-7)) was trained on 50 "
            "million human cells to guess hidden gene counts from the others, at any read depth. Its inner picture "
            "of a cell, the *cell embedding*, can be used to draw maps, find types, compare conditions and more. "
            "This app computes it for your cells and always shows a simple method beside it, so that you can judge "
            "what the model adds. It starts with a small model of its own (see the Model page); the published weights "
            "of 100 million parameters can be imported there."
        )
