"""Found types beside labels that the file has; a click on a number selects its cells."""

import pandas as pd
import streamlit as st

from scfviz.analysis.metrics import choose_labels, rank_of_types
from scfviz.analysis.selection.rules import Categories, Intersection
from scfviz.tasks.result import Result
from scfviz.ui.frame import page, routes, sources
from scfviz.ui.frame.text import plain, plural

FOUND = "annotated_type"


@st.fragment
def show(result: Result, source: sources.Source) -> None:
    """The table, and what a click selects."""
    if "labels" not in result.tables:
        return
    obs = result.tables["labels"]
    columns = sorted(choose_labels(obs)[0], key=rank_of_types)
    if not columns:
        return
    with st.container(border=True, key="card-confusion"), page.guard():
        st.markdown("#### Beside labels of the file")
        column = st.selectbox("Labels", columns, key="annotation-confusion")
        counts = pd.crosstab(obs[column].astype(str).to_numpy(), result.cells[FOUND].astype(str).to_numpy())
        counts.index.name = column
        chosen = st.dataframe(
            counts, on_select="rerun", selection_mode="single-cell", key=f"annotation-confusion-{column}"
        ).selection.cells
        st.caption("Rows: the file's labels. Columns: annotated types. Numbers are cells: click one to select them.")
        if chosen and chosen[0][1] in counts:
            row, found = chosen[0]
            n_cells = select_cells(source, column, str(counts.index[row]), str(found))
            st.markdown(f"{plural(n_cells, 'cell')} of {plain(counts.index[row])}, annotated {plain(found)}, selected.")
            routes.link("explorer", "Explore these cells", icon=routes.all_routes()["explorer"].icon)


def select_cells(source: sources.Source, column: str, label: str, found: str) -> int:
    """Select the cells that have a label and were annotated with a type, as the Explorer does; returns their number."""
    from scfviz.ui.explorer import data as explorer_data
    from scfviz.ui.explorer.selection import selection_card, selections
    from scfviz.ui.tasks.request import finished_jobs

    data = explorer_data.explore(source, None, None, finished_jobs(source))
    is_missing = label == "nan" and label not in set(data.obs[column].dropna().astype(str))
    rule = Intersection((Categories(column, (None if is_missing else label,)), Categories(FOUND, (found,))))
    mask = data.mask(rule)
    history = selections.load(data.key)
    if history.current != rule:
        selection_card.keep(data, history.select(rule))
    return int(mask.sum())
