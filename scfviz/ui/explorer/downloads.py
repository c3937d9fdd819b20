"""What the explorer gives away: figures and tables."""

from pathlib import Path

import pandas as pd
import streamlit as st

from scfviz.tasks.selection_history import SelectionHistory
from scfviz.ui import figure
from scfviz.ui.cell_map import hidden_codes
from scfviz.ui.explorer.data import Explored
from scfviz.ui.explorer.view import View


def show(view: View, key: str) -> None:
    """The menu of downloads; `key` is that of the maps."""
    data, history, mask, chosen = view.data, view.history, view.mask, view.chosen.coloring
    stem = Path(view.source.title).name.split(".")[0] or "cells"
    hidden = hidden_codes(key, chosen)

    def draw(kind: str) -> bytes:
        maps = {data.titles[name]: data.maps[name] for name in view.chosen.maps}
        return figure.draw_maps(maps, chosen, kind, selected=mask, hidden=hidden, caption=view.caption)

    with st.container():
        for kind, mime in (("svg", "image/svg+xml"), ("png", "image/png"), ("pdf", "application/pdf")):
            st.download_button(
                f"Figure ({kind.upper()})", lambda kind=kind: draw(kind), f"{stem}_map.{kind}", mime, on_click="ignore",
                icon=":material/imagesmode:", key=f"x_{kind}",
            )  # fmt: skip
        st.download_button(
            "Table of cells (CSV)", lambda: cell_table(data, history).to_csv(), f"{stem}_cells.csv", "text/csv",
            on_click="ignore", icon=":material/table:", key="x_csv",
        )  # fmt: skip
        if mask is not None:
            st.download_button(
                "Selected cells (CSV)", lambda: cell_table(data, history)[mask].to_csv(), f"{stem}_selected.csv",
                "text/csv", on_click="ignore", icon=":material/lasso_select:", key="x_selected_csv",
            )  # fmt: skip
    st.caption(
        "Figures have text that can be edited, the cells as one picture at 300 dots per inch, and a caption. The "
        "tables hold every column, the maps, and one column for each named selection."
    )


def cell_table(data: Explored, history: SelectionHistory) -> pd.DataFrame:
    """One row per shown cell: the table, positions on all maps, and whether it is in each named selection."""
    table = data.obs.copy(deep=False)
    table.index = table.index.rename("cell")
    for name, xy in data.maps.items():
        for axis in (0, 1):
            table[f"{name}_{axis + 1}"] = xy[:, axis]
    for kept in history.named:
        table[f"selection: {kept.name}"] = data.mask(kept.rule)
    if history.current is not None:
        table["selected"] = data.mask(history.current)
    return table
