"""The start page: the dataset in use as a card, its computation, and the next steps."""

import streamlit as st

from scfviz.ui.frame import describe, job_panel, page, routes, sources, state
from scfviz.ui.screens import dataset
from scfviz.ui.tasks import embedding

_STEPS = {
    "dataset": (
        "Check the dataset",
        "What was found in the file, how its genes were matched, and which cells to leave out.",
    ),
    "cell_embedding": (
        "Compare the maps",
        "The model's map of the cells beside the standard one, coloured by label, gene or quality.",
    ),
    "explorer": (
        "Explore the cells",
        "Select cells with a lasso, name them, and find the genes that set them apart.",
    ),
    "model": ("Know the model", "The weights in use, their size and licence, and how to bring the official ones."),
}
_TITLE = "Computing the maps of the demo"


def show_dataset() -> None:
    """The dataset in use, or how to get one."""
    if state.dataset() is None:
        _show_welcome()
        return
    with st.container(border=True, key="card-dataset"):
        _show_card(state.dataset())
    if state.job() and job_panel.status_of(state.job()).state != "done":
        job_panel.show_progress(state.job(), _TITLE if state.dataset().startswith("demo:") else "Computing the maps")


def _show_welcome() -> None:
    with st.container(border=True, key="card-welcome"):
        page.show_empty(
            "Begin with the demo",
            "559 immune cells with all genes measured, the sample that comes with CellTypist. It opens in a moment, "
            "needs no network, and shows every page.",
        )
        with st.container(horizontal=True):
            if st.button("Open the demo", type="primary", icon=":material/play_arrow:"):
                state.choose_dataset(sources.FIRST_DEMO)
                st.rerun()
            if st.button("Choose my own dataset", icon=":material/folder_open:"):
                routes.go("dataset")


@st.fragment(parallel=True)
def _show_card(ref: str) -> None:
    """Runs beside the page, so that the page is there at once while a new file is still being read."""
    with page.guard():
        waiting = st.skeleton(height=150)
        try:
            source = sources.resolve(ref)
            about = describe.describe(source, state.gene_column())
            if ref.startswith("demo:") and state.job() is None and embedding.find_job(source) is not None:
                st.rerun(scope="app")
        finally:
            waiting.empty()
        dataset.show_card(source, about)
        if about["n_obs"] and state.filters():
            st.caption("Cell filters are in use; see the Dataset page.")


def show_steps() -> None:
    """A card for each page with what it is for."""
    for column, (name, (title, text)) in zip(st.columns(len(_STEPS), gap="small"), _STEPS.items(), strict=True):
        with column.container(border=True, height="stretch", key=f"card-next-{name}"):
            st.markdown(f"**{title}**")
            st.markdown(text)
            routes.link(name)
