"""Cells on a reference whose picture stays fixed: labels, distance, and what has no counterpart."""

import streamlit as st

from scfviz.ui.frame import opening, page
from scfviz.ui.tasks import measured
from scfviz.ui.tasks.mapping import screen as mapping
from scfviz.ui.tasks.page import show_task

with page.screen("mapping", mapping.TASK.question):
    show_task(mapping.TASK, opening.require_dataset())
    measured.show(mapping.TASK)
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(
            "**The picture is the reference's** and is the same whatever is mapped: its own UMAP where the file has "
            "one. Your cells are placed among their nearest cells there.\n\n"
            "**Spaces.** Neighbours are looked for in the principal components of the reference's variable genes, in "
            "the model's embedding, and in both side by side. What each is worth is learned on the reference: its own "
            "cells are labelled in spaces that did not see them. One overall shift of your cells against the reference "
            "is subtracted, as another platform or chemistry makes it; a type that the reference lacks stays apart.\n\n"
            "**Distance** is that to the nearest cells of the reference, over the distance that these have to their "
            "own. **No counterpart**: fewer of the reference's cells lie as far than the false rate allows, after the "
            "distance that clusters which fit have in common, the platform's, is taken out; or the cell's cluster is "
            "unlike its neighbours. **Undecided**: no label has a probability of one half.\n\n"
            "**Likeness** compares clusters over all genes: what sets a cluster apart from your other cells with what "
            "sets its neighbours in the reference apart from theirs. What a platform does to all cells drops out; a "
            "wrong tissue does not pass, however near it is placed.\n\n"
            "**Power.** Every label is left out of the reference in its turn, to see whether its cells would have been "
            "noticed. **Mixing** is the local inverse Simpson's index (LISI): among equally many cells of both, how "
            "many datasets a cell's neighbourhood holds.\n\n"
            "**Beside it** stand the projection onto the reference's principal components, one shift per soft cluster "
            "after Symphony, and for batches Harmony where it is installed. BBKNN is not part of scfviz: it changes a "
            "graph, not a space."
        )
