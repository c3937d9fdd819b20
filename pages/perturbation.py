"""What happens when a gene is switched off or on: predicted, measured against simple answers, and shown."""

import streamlit as st

from scfviz.ui.frame import page
from scfviz.ui.tasks.perturbation import screen as perturbation

with page.screen("perturbation", perturbation.TASK.question):
    perturbation.show()
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(
            "**Population means, not cells.** A prediction is the mean change of each gene against control cells, in "
            "ln(1 + counts per 10,000). No single cell is predicted.\n\n"
            "**The line and the kind of perturbation are those of the screen.** Activation, knock-down and knock-out "
            "are different experiments; another line, or your own cells, may answer otherwise: then it is an "
            "extrapolation.\n\n"
            "**Views.** Each prediction combines simple answers (nothing changes, the mean of the measured "
            "perturbations, sums of single effects, nearest perturbations by Gene Ontology) and the model's gene "
            "embeddings. Their weights are learned over held-out perturbations, for each kind of question by itself; a "
            "view that knows nothing gets none. The verdict says what it rests on and what the model adds. In the "
            "published field the simple answers have mostly won (Ahlmann-Eltze et al. 2025).\n\n"
            "**Unseen, unknown.** *Measured in training*: the measured change is shown, with what was said before it "
            "was seen. *Unseen*: a prediction. *Unknown to the model*: neither the Gene Ontology nor the model has the "
            "gene, so that the answer is the mean of all perturbations.\n\n"
            "**Drug or cytokine, by cell type.** Each type is left out once and predicted from the others: by their "
            "mean shift, by each gene's own level, by the types nearest in expression or in the model's embedding. The "
            "replicate (half of the cells against the other half) says how well a repeat of the experiment would do."
            "\n\n"
            "**Pairs.** The size of an interaction is what a pair does beyond the sum of both, as a share of the sum. "
            "Where too few pairs were measured, others are left open.\n\n"
            "**What next.** The order says which gene stands for most of those that are not known, not which has the "
            "largest effect. Where nearness of genes explains little, any order is as good.\n\n"
            "**Which changed genes lie near the target in a network is no cause.** What changes may be two or ten "
            "steps behind."
        )
