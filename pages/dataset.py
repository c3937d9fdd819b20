"""Choose a dataset, read what the check found, and filter its cells."""

import streamlit as st

from scfviz.ui.frame import opening, page, state
from scfviz.ui.screens import dataset, filters

LEAD = (
    "Choose the cells to work with. The file is checked, and every decision about counts and genes is reported below."
)

with page.screen("dataset", LEAD):
    dataset.show_chooser()
    if state.dataset() is None:
        page.show_empty(
            "No dataset is open", "Open a demo above, or a file of your own. What the check finds appears here."
        )
        st.stop()
    source = opening.require_dataset()
    about = dataset.describe_or_ask(source)  # before the card, which would stay empty beside an error
    with st.container(border=True, key="card-dataset"):
        dataset.show_card(source, about)
        dataset.link_to_map(about)
    with st.container(border=True, key="card-report"):
        st.markdown("#### What the check found")
        dataset.show_report(source, about)
    with st.container(border=True, key="card-filters"):
        st.markdown("#### Quality of the cells")
        filters.show(source)
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(
            "**Counts per cell** are molecules (or reads), **genes per cell** those with at least one, both "
            "over all genes of the file, as is usual; the model itself reads only the genes that it knows. "
            "Few counts or genes point to empty droplets or broken cells, many "
            "to two cells in one droplet. A high **mitochondrial share** points to dying cells, but heart, muscle "
            "or liver cells have a high share by nature. No limit fits every tissue: look where the bulk of "
            "the cells ends. Limits remove cells from the analysis only; your file is never changed. A gene that "
            "the file **does not hold** is treated as not measured, which is not the same as zero."
        )
