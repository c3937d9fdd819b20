"""Look at the cells: linked maps, any colour, selections, and the genes that differ between them."""

import streamlit as st

from scfviz.ui.frame import describe, opening, page, routes, state
from scfviz.ui.tasks import embedding, request

LEAD = "Colour the cells by anything that is known of them, select some with a lasso, and ask which genes differ."

with page.screen("explorer", LEAD):
    source = opening.require_dataset()
    from scfviz.ui.explorer import layout

    job = embedding.known_job(source)
    done = job is not None and job.state == "done"
    has_map = layout.show(source, job.id if done else None, request.finished_jobs(source))
    if job is None and has_map:  # a demo's own maps are computed once there is something to look at
        job = embedding.find_job(source)
    is_offered = job is None or not (done or job.is_active)
    if is_offered and has_map and not describe.describe(source, state.gene_column())["refusal"]:
        st.caption("The model can draw a map of these cells alone:")
        routes.link("cell_embedding", "Compute a map of these cells")
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(
            "**A point is a cell**, at the same place on a map whatever its colour. All maps show the same cells: what "
            "is selected on one is selected on all. In a UMAP only neighbourhoods mean something; sizes of groups and "
            "distances between far groups do not.\n\n"
            "**Selecting.** Choose the lasso above the maps (or hold Shift) and draw; Ctrl adds, Alt subtracts. A "
            "selection is kept as what was drawn or asked, not as a list of cells, so it can be looked at and undone "
            "later. A name keeps it for the next visit.\n\n"
            "**Genes** are coloured by ln(1 + counts per 10,000). Colours end at the 1st and 99th percentile; the "
            "legend says how many cells lie outside. A gene that the file does not hold is *not measured*: it cannot "
            "be chosen, because nothing is known about it.\n\n"
            "**Differences** between selections are tested cell by cell. Cells of one donor are not independent, so "
            "the order of the genes is useful and the p values are too small; and groups that were chosen by looking "
            "at the same genes differ by construction. Where the file names donors, **Between donors** compares sums "
            "of counts per donor instead, and is the result to trust.\n\n"
            "**Gene sets** say what the genes of a comparison have in common, such as a biological process; sets "
            "overlap, so neighbouring results often say the same thing."
        )
