"""What the benchmark of a task measured on public datasets: the verdict, and the table behind it."""

import importlib

import streamlit as st

from scfviz.tasks.spec import Task
from scfviz.ui.frame.text import plain


def show(task: Task) -> None:
    """Nothing where no results are recorded."""
    measured = importlib.import_module(f"scfviz.tasks.{task.name}.measured")
    found = measured.read_measured()
    if found is None:
        return
    with st.container(border=True, key="card-measured"):
        st.markdown("#### Measured on public datasets")
        for sentence in measured.describe_measured(found):
            st.markdown(plain(sentence))
        with st.expander("Numbers", icon=":material/table:"):
            table = measured.measured_table(found)
            formats = {
                name: st.column_config.NumberColumn(format="%.2f")
                for name in table[0]
                if any(isinstance(row[name], float) for row in table)
            }
            st.dataframe(table, hide_index=True, column_config=formats)
            st.caption(f"Over seeds. Made by `benchmarks/{task.name}.py`; more in `benchmarks/NOTES.md`.")
