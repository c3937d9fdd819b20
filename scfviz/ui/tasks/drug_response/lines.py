"""The training lines nearest to a sample and what was measured on them, where the predictor holds lines."""

import pandas as pd
import streamlit as st

from scfviz.tasks.drug_response.lines import NO_LINES, find_nearest_lines, nearest_lines_table
from scfviz.tasks.drug_response.predictor import DrugPredictor, DrugResponses
from scfviz.tasks.drug_response.samples import Samples
from scfviz.ui.frame.text import plain

_COLUMNS = {"line": "Line", "similarity": "Similarity", "ln_ic50": "Measured ln IC50", "percentile": "Percentile"}


def show(samples: Samples, found: DrugResponses, predictor: DrugPredictor, row: int, drug: str) -> None:
    """Lines of one sample with the measured responses to one drug; without lines why there are none."""
    st.markdown(f"##### Nearest training lines, measured with {plain(drug)}")
    if predictor.lines is None:
        st.caption(f":material/info: {plain(NO_LINES)}")
        return
    nearest = find_nearest_lines(predictor, samples, found.scale, rows=[row])
    table = nearest_lines_table(predictor, nearest)
    names = [predictor.lines.names[i] for i in nearest.rows[0]]
    of_drug = table[table["drug"] == drug].set_index("line")
    shown = pd.DataFrame({"line": names, "similarity": nearest.similarity[0]}).join(
        of_drug[["ln_ic50", "percentile"]], on="line"
    )
    formats = {title: st.column_config.NumberColumn(format="%.2f") for title in list(_COLUMNS.values())[1:]}
    st.dataframe(shown.rename(columns=_COLUMNS), hide_index=True, column_config=formats, key="drug-lines")
    measured = shown["ln_ic50"].dropna()
    if len(measured):
        st.caption(
            f"Mean of the {len(measured)} that were measured with {plain(drug)}: {measured.mean():+.2f}; predicted for "
            f"this sample: {found.ln_ic50[row, found.drugs.index(drug)]:+.2f}. Similarity: cosine of the scores of "
            "expression, near 0 for unrelated lines. Predictions use all lines, which is better than the nearest alone."
        )
    st.download_button(
        "All drugs of these lines (CSV)",
        table.to_csv(index=False, float_format="%.6g"),
        "nearest_lines.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/table:",
        key="download-drug-lines",
    )
