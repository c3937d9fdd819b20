"""What type each cell is, how certain that is, and which cells are like none that were learned."""

import streamlit as st

from scfviz.ui.frame import opening, page
from scfviz.ui.tasks.annotation import screen as annotation
from scfviz.ui.tasks.page import explanation, show_task

with page.screen("annotation", annotation.TASK.question):
    show_task(annotation.TASK, opening.require_dataset())
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(explanation(annotation.TASK))
