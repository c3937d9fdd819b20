"""The checkpoint in use: what it is good for, how it was trained, its licence; and how to import the official one."""

import streamlit as st

from scfviz.ui.frame import models, page, routes, state
from scfviz.ui.screens import model_card, scores
from scfviz.ui.tasks.annotation import measured as annotation_measured
from scfviz.ui.tasks.drug_response import details as drug_response_details
from scfviz.ui.tasks.perturbation import words as perturbation_words

LEAD = "The weights behind every result: what they are good for, where they come from, what they may be used for."

with page.screen("model", LEAD):
    model_card.show_choice()
    with st.spinner("Reading the checkpoint …"):
        info = models.info_of(state.model())
    if not info.is_trained:
        page.untrained_notice()
    with st.container(border=True, key="card-model"):
        model_card.show_name(info)
        with page.guard():
            scores.show_verdict(info)
    with st.container(border=True, key="card-facts"):
        model_card.show_facts(info)
        routes.link("adapt", "Adapt it to your own cells", icon=":material/school:")
    with st.container(border=True, key="card-curve"):
        st.markdown("#### Pretraining")
        model_card.show_training(info)
    with st.container(border=True, key="card-import"):
        st.markdown("#### Import the official weights")
        model_card.show_import()
    annotation_measured.show()
    drug_response_details.show_measured()
    if measured := perturbation_words.sentences(info.hash):
        with st.container(border=True, key="card-perturbations"):
            st.markdown("#### Perturbations: what its gene embeddings are worth")
            st.markdown("\n\n".join(measured))
    st.markdown("#### Details")
    scores.show_details(info)
    with st.expander("Model card", icon=":material/description:"):
        model_card.show_readme(info)
    with st.expander("How to read this", icon=":material/help:"):
        st.markdown(
            "A **checkpoint** is a folder with the numbers that the model learned, its sizes and its list of "
            "genes. The **fingerprint** changes with any of them and is stored with every result, so that a result "
            "can be traced to its weights. The **encoder** reads the expressed genes of a cell and makes the cell "
            "embedding; the **decoder** predicts all genes and is used for gene embeddings and for enhanced "
            "counts. In the **pretraining curve** a lower loss is better; the curve on cells that were held out "
            "shows whether the model learned something general."
        )
