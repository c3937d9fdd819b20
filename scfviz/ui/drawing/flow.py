"""Cells that flow from one set of groups to another, as a Sankey figure."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from scfviz.ui.drawing.charts import CLEAR
from scfviz.ui.frame.text import hover

if TYPE_CHECKING:
    import pandas as pd

_LINK_OPACITY, _NAME_LENGTH, _HEIGHT_OF_A_LANE = 0.45, 28, 26


def draw_flow(
    table: "pd.DataFrame", left: Mapping[str, str], right: Mapping[str, str], *, titles: Sequence[str]
) -> go.Figure:
    """Bands from groups on the left to groups on the right, as wide as they hold cells, in the left one's colour.

    Parameters
    ----------
    table
        Columns: the group on the left, the one on the right, `n_cells`.
    left, right
        Hexadecimal colour of each group, in the order from top to bottom.
    titles
        What the two sides are.
    """
    names = [*left, *right]
    place = {("left", name): i for i, name in enumerate(left)}
    place |= {("right", name): len(left) + i for i, name in enumerate(right)}
    rows = list(table.itertuples(index=False, name=None))
    figure = go.Figure(
        go.Sankey(
            arrangement="snap",
            textfont={"size": 13, "shadow": "none"},  # no colour: the theme's, also when the visitor changes it
            node={
                "label": [hover(name, _NAME_LENGTH) for name in names],
                "color": [*left.values(), *right.values()],
                "pad": 10,
                "thickness": 14,
                "line": {"width": 0},
                "hovertemplate": "%{label}: %{value:,} cells<extra></extra>",
            },
            link={
                "source": [place["left", str(row[0])] for row in rows],
                "target": [place["right", str(row[1])] for row in rows],
                "value": [int(row[2]) for row in rows],
                "color": [_faint(left[str(row[0])]) for row in rows],
                "hovertemplate": "%{source.label} to %{target.label}: %{value:,} cells<extra></extra>",
            },
        )
    )
    height = max(320, _HEIGHT_OF_A_LANE * max(len(left), len(right)) + 60)
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 64, "b": 8},
        **CLEAR,
    )
    for x, title, anchor in ((0, titles[0], "left"), (1, titles[1], "right")):
        figure.add_annotation(
            x=x,
            y=1.0,
            yshift=22,
            text=hover(title),
            showarrow=False,
            xanchor=anchor,
            xref="paper",
            yref="paper",
        )
    return figure


def _faint(color: str) -> str:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {_LINK_OPACITY})"
