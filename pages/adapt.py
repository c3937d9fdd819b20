"""The checkpoint in use goes on learning from the user's own cells, and is kept only if that helped."""

import streamlit as st

from scfviz.ui.frame import opening, page
from scfviz.ui.screens import adapt

LEAD = "Let the model learn from your own cells, without labels, and see whether that helped before you use it."

with page.screen("adapt", LEAD, title="Adapt the model"):
    adapt.show(opening.require_dataset())
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(
            "**What it learns.** Pretraining goes on with your cells: some of their counts are hidden, and the model "
            "learns to fill them in. No labels are used. *Low-rank* trains a small addition beside the weights, which "
            "stay as they are; it forgets less and can be passed on as a file of a few MB. *All weights* changes "
            "everything.\n\n"
            "**The verdict.** One cell in four, or whole donors, are never learned from. Half of these choose the best "
            "weights; on the others the model is compared with what it was, with the same counts hidden. A change "
            "counts only if its 95 % interval over cells excludes zero. With whole donors held out the interval does "
            "not include that other donors may differ more.\n\n"
            "**What it forgot** is measured on cells of another dataset that comes with scfviz. More than 5 % there "
            "and the model is not worth keeping for general use.\n\n"
            "**When it is worth it.** For a tissue or a platform that the model has hardly seen. To tell your cell "
            "types apart, labels help more: see Annotation."
        )
