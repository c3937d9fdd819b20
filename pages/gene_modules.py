"""Genes that go together: modules as a picture, their meaning, and the regulators that go with them."""

import streamlit as st

from scfviz.ui.frame import opening, page
from scfviz.ui.tasks.gene_modules import screen as gene_modules
from scfviz.ui.tasks.page import show_task

with page.screen("gene_modules", gene_modules.TASK.question):
    show_task(gene_modules.TASK, opening.require_dataset())
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(
            "**Links.** Two genes are linked when they rise and fall together: over metacells (each cell pooled with "
            "its 14 nearest), and in the model's context embeddings, of which only how they change together from "
            "cell to cell is kept. The paper clusters their means; those say which gene it is, and did not find genes "
            "that go together when we tried. What each view is worth is learned by predicting correlations in a half "
            "of the cells that it has not seen.\n\n"
            "**Modules** are communities of these links (Leiden), at the finest resolution whose modules repeat nearly "
            "as well in halves of the cells as any do. A name is the best gene set of the Gene Ontology, and only "
            "where it beats 95 % of 40 random sets of as many genes of like expression: random expressed genes enrich, "
            "too.\n\n"
            "**Regulators.** Each transcription factor (GO:0003700) is linked to its best targets. *Weight* is the "
            "rank among the factor's targets; boosted trees are evidence beside it; *percentile of null* is that "
            "among 100 genes that are no factors but expressed as much; *stability* is the share of halves of the "
            "cells in which the edge repeats. The sign is that of the correlation. An edge is a lead for an "
            "experiment, not a finding.\n\n"
            "**The picture** has fixed places without meaning: a disc is a module, distance says nothing. At most 300 "
            "genes are drawn unless you ask for more.\n\n"
            "**Beside it** stands co-expression alone, which needs no model."
        )
