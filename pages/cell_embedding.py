"""The model's map of the cells, the baseline's, and that of both together."""

import streamlit as st

from scfviz.ui.frame import job_panel, opening, page
from scfviz.ui.tasks import embedding

LEAD = "The model's map of the cells, the standard analysis of the same cells, and both together, coloured alike."

with page.screen("cell_embedding", LEAD):
    source = opening.require_dataset()
    job = embedding.find_job(source)
    if job is None:
        embedding.show_request(source)
    elif job.state != "done":
        job_panel.show_progress(job.id, "Computing the maps")
    else:
        from scfviz.ui.tasks import maps

        maps.show(job, source)
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(
            "**A point is a cell.** Cells with similar expression lie close together. Only neighbourhoods mean "
            "something in a UMAP: distances between far groups, their sizes and the directions do not.\n\n"
            "**Why three maps.** The first is of the model's representation: its embedding, in the *cell space* of its "
            "checkpoint where there is one. That is a linear map, fitted on other datasets without labels, which "
            "brings cells of a kind together. The second is the baseline, which knows this dataset only: "
            "log-normalised counts, variable genes, principal components. Where both agree, the structure is robust. "
            "Where only the model separates cells of known types, it adds something; where only the baseline does, it "
            "loses something. The third is a joint representation: the model's beside the "
            "baseline's components, with a quarter of their variance. The scores say how well each agrees with known "
            "labels; none is tuned to them.\n\n"
            "**Clusters** are found by the Leiden method among each map's own neighbours. **ARI** and **NMI** "
            "compare clusters with labels; both change with the resolution, so compare the maps at several. "
            "**Silhouette** needs no clusters: it asks whether cells of one label lie closer to each other than to "
            "other labels.\n\n"
            "**Colours and selection** are those of the Explorer: what is chosen on one page is chosen on the other. "
            "Genes are coloured by ln(1 + counts per 10,000)."
        )
