"""What is kept on this server: datasets, computations, how large they are, and what can go."""

import streamlit as st

from scfviz.ui.frame import page
from scfviz.ui.screens import workspace

LEAD = "What scfviz keeps between two visits: your datasets, computations and results. Look, go on, share, clean up."

with page.screen("workspace", LEAD):
    workspace.show_place()
    with st.container(border=True, key="card-datasets"), page.guard():
        workspace.show_datasets()
    with st.container(border=True, key="card-computations"), page.guard():
        workspace.show_computations()
    with st.container(border=True, key="card-session"), page.guard():
        workspace.show_session()
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(
            "Everything lies in **one folder** that can be copied, backed up or deleted as a whole. **Uploads** are "
            "yours alone: nobody else opens, lists or downloads them, or what was computed, selected or labelled on "
            "them, also not with a link, until you share them. Sharing opens them for everyone on this server; "
            "deleting, stopping what you started, and taking the share back stay with you. You are this browser, or "
            "your account where the server has sign-in. Demos, the gallery and the server's folders are everyone's, "
            "and so is what is computed on them. **Results** belong to the content of a file, not to its name: the "
            "same question on the same cells is computed once, though not across the uploads of two people. A "
            "**computation** runs outside the page; one that was interrupted, for example by a restart, goes on from "
            "what it had finished. Nothing that runs or is open in a browser is deleted."
        )
