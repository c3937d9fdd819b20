"""Cells on a reference whose picture stays fixed: labels, distance, and what has no counterpart."""

import streamlit as st

from scfviz.ui.frame import page
from scfviz.ui.tasks import mapping
from scfviz.ui.tasks.page import show_task

with page.screen("mapping", mapping.TASK.question):
    show_task(mapping.TASK, page.require_dataset())
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(
            "**The picture is the reference's** and is the same whatever is mapped: its own UMAP where the file has "
            "one. Your cells are placed among their nearest cells there.\n\n"
            "**Spaces.** Neighbours are looked for in the principal components of the reference's variable genes, in "
            "the model's embedding, and in both side by side. What each is worth is learned on the reference: its own "
            "cells are labelled in spaces that did not see them. One overall shift of your cells against the reference "
            "is subtracted, as another platform or chemistry makes it; a type that the reference lacks stays apart.\n\n"
            "**Distance** is that to the nearest cells of the reference, over the distance that these have to their "
            "own. **No counterpart**: fewer of the reference's cells lie as far than the false rate allows. "
            "**Undecided**: no label has a probability of one half.\n\n"
            "**Power.** Every label is left out of the reference in its turn, to see whether its cells would have been "
            "noticed. **Mixing** is the local inverse Simpson's index (LISI): among equally many cells of both, how "
            "many datasets a cell's neighbourhood holds.\n\n"
            "**Measured** (`benchmarks/NOTES.md`; four pairs, about 200 cells a side): labels reach a macro-F1 of "
            "0.76, 0.91, 0.59 and 0.89, the PCA projection alone 0.70, 0.93, 0.57 and 0.82. Of cells of a wrong "
            "tissue, mapped on a panel of 2,000 genes, only 52 % and 0 % got no counterpart: check by eye that the "
            "tissue is right, or leave the shift out, which is stricter.\n\n"
            "**Beside it** stands the projection onto the reference's principal components. Harmony, Symphony and "
            "BBKNN are not part of scfviz."
        )
