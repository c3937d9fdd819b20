"""Which drugs act on tumour samples, lines and cells: predicted beside averages, with what that was worth."""

import streamlit as st

from scfviz.ui.frame import page
from scfviz.ui.tasks.drug_response import screen as drug_response

EXPLAINED = (
    "**Research use only, never for treatment.** What is learned are cancer cell lines in dishes: no immune "
    "system, no stroma, no dose that a patient would bear. Normal tissue and blood are no tumours.\n\n"
    "**Percentile, not IC50.** A potent drug is potent in nearly every line, so that a raw IC50 mostly names "
    "the drug. The percentile says where a sample is expected among the training lines for that drug: at 10, "
    "nine lines of ten need more of it. Its interval is wide, as it should be: nine of ten held-out lines "
    "were inside.\n\n"
    "**Potency, general, specific.** ln(IC50) = mean of all drugs + potency of the drug + general sensitivity "
    "of the sample to any drug + what is specific to the pair. The general part (how fast a line grows, how "
    "frail it is) is predicted best; the specific part is what names a drug, and is predicted less well.\n\n"
    "**Scale.** Arrays and RNA-seq rank genes differently. RNA-seq is read by genes for which lines were "
    "measured both ways; tables of counts are centred gene by gene, and then samples are compared with each "
    "other only.\n\n"
    "**Genes that carry a prediction** are an association over lines, not a mechanism.\n\n"
    "**A new drug** is predicted from drugs of like structure; beyond the general sensitivity that is worth "
    "little, and the number beside it says how little."
)

with page.screen("drug_response", drug_response.TASK.question):
    if drug_response.show() == drug_response.SAMPLES:  # the other part explains itself
        with st.expander("How to read this", icon=":material/help:"):
            st.markdown(EXPLAINED)
