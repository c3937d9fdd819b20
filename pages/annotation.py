"""What type each cell is, how certain that is, and which cells are like none that were learned."""

import streamlit as st

from scfviz.ui.frame import page
from scfviz.ui.tasks import annotation
from scfviz.ui.tasks.page import explanation, show_task

with page.screen("annotation", annotation.TASK.question):
    show_task(annotation.TASK, page.require_dataset())
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(explanation(annotation.TASK))
