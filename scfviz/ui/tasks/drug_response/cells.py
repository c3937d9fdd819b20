"""The tab *Cells* of the page Drug response: question and request; what was found is in `cells_result`."""

import streamlit as st

from scfviz.jobs import JobStatus
from scfviz.tasks.registry import get_task
from scfviz.ui.frame import opening, sources
from scfviz.ui.tasks import request
from scfviz.ui.tasks.page import show_task

TASK = get_task("drug_sensitivity")


def show() -> None:
    """The whole tab, below the title of its page."""
    from scfviz.ui.tasks.drug_response import cells_words

    st.markdown(f"**{TASK.question}**")
    st.warning(cells_words.RESEARCH, icon=":material/science:")
    show_task(TASK, opening.require_dataset())
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(cells_words.EXPLANATION)


def show_request(source: sources.Source) -> None:
    """What is computed, and the options.

    Raises
    ------
    DatasetError, GeneError
        The file cannot be used.
    """
    request.show(
        TASK,
        source,
        said="All drugs of the predictor that ships are computed at once, offline; you choose among them afterwards. "
        "Use tumour cells: of healthy cells it says nothing, and the result will tell you so.",
    )


def show_result(job: JobStatus, source: sources.Source) -> None:
    """Verdict, maps, groups, drugs, downloads."""
    from scfviz.ui.tasks.drug_response import cells_result

    cells_result.show(TASK, job, source)
