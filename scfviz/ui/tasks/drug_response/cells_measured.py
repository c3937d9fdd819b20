"""What the benchmark found of predictions for cells: verdict and numbers."""

import streamlit as st

from scfviz.tasks.drug_sensitivity import measured
from scfviz.ui.frame.text import plain


def show() -> None:
    """Nothing where no results are recorded."""
    found = measured.read_measured()
    if found is None:
        return
    with st.container(border=True, key="card-measured-cells"):
        st.markdown("#### Measured on cells of lines that were never seen")
        for sentence in measured.describe_measured(found):
            st.markdown(plain(sentence))
        with st.expander("Numbers", icon=":material/table:"):
            st.dataframe(measured.measured_table(found), hide_index=True)
            st.caption("Made by `benchmarks/drug_cells.py`; more in `benchmarks/NOTES.md`.")
