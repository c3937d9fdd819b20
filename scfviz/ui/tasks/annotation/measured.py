"""What the annotation was measured to do on public datasets: on its page and on the Model page."""

import streamlit as st

from scfviz.ui.frame.text import plain


def show() -> None:
    """The verdict, and the table behind it; nothing where no results are recorded."""
    from scfviz.tasks.annotation.measured import describe_measured, measured_table, read_measured

    found = read_measured()
    if found is None:
        return
    with st.container(border=True, key="card-measured"):
        st.markdown("#### Annotation, measured on public datasets")
        for sentence in describe_measured(found):
            st.markdown(plain(sentence))
        with st.expander("Numbers", icon=":material/table:"):
            st.dataframe(measured_table(found), hide_index=True)
            st.caption(
                f"Model {plain(found['checkpoint'])}. Means of {found['seeds']} seeds with 95 % intervals; at most "
                f"{found['most_cells_of_a_type']} cells of a type. *Macro-F1* is that of the method that is taken by "
                "itself. The types that were not learned were left out of the reference one after the other, or are "
                "absent from it. Made by `benchmarks/annotation.py`."
            )
