"""What a panel gives away: its picture for print and the numbers behind it."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import streamlit as st

from scfviz.ui.explorer.panels.plot_prints import MIME
from scfviz.ui.explorer.view import View


def offer(view: View, name: str, table: pd.DataFrame, draw: Callable[[str], bytes]) -> None:
    """Buttons for SVG, PNG and CSV; each is made when it is pressed.

    Parameters
    ----------
    name
        Of the files, after that of the dataset, and of the buttons in the session.
    table
        The numbers behind the picture.
    draw
        Gives the picture as "svg" or "png".
    """
    stem = f"{Path(view.source.title).name.split('.')[0] or 'cells'}_{name}"
    with st.container(horizontal=True):
        for kind, mime in MIME.items():
            st.download_button(
                f"Figure ({kind.upper()})",
                lambda kind=kind: draw(kind),
                f"{stem}.{kind}",
                mime,
                on_click="ignore",
                icon=":material/imagesmode:",
                key=f"x_{name}_{kind}",
            )
        st.download_button(
            "Numbers (CSV)",
            lambda: table.to_csv(index=False),
            f"{stem}.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/table:",
            key=f"x_{name}_csv",
        )
