"""What cells would show at a greater read depth, after a verdict on their own held-back counts."""

import streamlit as st

from scfviz.ui.frame import opening, page
from scfviz.ui.tasks import measured
from scfviz.ui.tasks.enhancement import screen as enhancement
from scfviz.ui.tasks.page import show_task

LEAD = "What these cells would show if they had been sequenced deeper, and for which genes that can be trusted."

with page.screen("enhancement", LEAD):
    show_task(enhancement.TASK, opening.require_dataset())
    measured.show(enhancement.TASK)
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(
            "**The verdict needs no known truth.** A tenth of each cell's counts is held back at random; every method "
            "sees the rest and is compared with what was held back. Numbers of neighbours, ranks and weights are "
            "learned on a tenth of the rest, never on what is compared.\n\n"
            "**The combination** is the weighted mean of all methods: the simple ones, and the posterior of the "
            "dataset, or of dataset and model. Weights go by what each predicts of held-back counts, so that one that "
            "predicts nothing has none. The *posterior* alone sees less and invents least: choose it where "
            "correlations between genes are the question.\n\n"
            "**Effective fold.** The correlation of raw counts with the held-back ones grows with the depth in a known "
            "way; it is fitted to your own cells, thinned. The fold is the depth at which raw counts would reach the "
            "method's correlation (the median over genes). It says how well differences between cells are seen, not "
            "that new molecules were measured. Beyond 20 nothing can be told. Without molecular identifiers "
            "(Smart-seq) reads of one molecule fall on both sides, so that counts look better than they are.\n\n"
            "**Lights.** *Use*: the gene's correlation rises for certain (5 % error), and the values beat the gene's "
            "mean. *Do not use*: it falls for certain, or the mean of the gene in every cell would be the better "
            "prediction. *Can't tell*: too few cells have counts of it, or nothing is certain.\n\n"
            "**Invented.** Counts of some genes are drawn again at random inside clusters, so that no correlation is "
            "left there; what a method still shows is its own. The same for differences between clusters: that is why "
            "enhanced values are not offered for differential expression. Compare counts in the Explorer.\n\n"
            "**Values** are ln(1 + counts per 10,000) expected at the target depth: the counts that were seen and, for "
            "the rest of the depth, the share that the method expects. Your counts are never "
            "changed. To *embed* cells at a greater depth, ask for it on the page Cell embedding."
        )
