"""Pictures of drug sensitivity: violins and shares by group, drugs that differ, drugs that together cover groups."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from scfviz.tasks.drug_sensitivity.compute import SURE
from scfviz.ui.drawing.charts import CLEAR
from scfviz.ui.frame.text import hover
from scfviz.ui.tasks.drug_response.figures import NAMES, RESISTANT, SENSITIVE

OPEN = "#b0b5b7"
_LAYOUT = {
    **CLEAR,
    "margin": {"t": 34, "r": 8, "b": 72},
    "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},  # above is the toolbar
}
_PROBABILITY = "probability of being sensitive"
_MOST_POINTS = 3_000  # of one violin


def draw_violins(probability: np.ndarray, codes: np.ndarray, names: Sequence[str]) -> go.Figure:
    """The probability of one drug in each group of cells.

    Parameters
    ----------
    probability
        float (n_cells,), NaN left out.
    codes
        int (n_cells,), -1 for cells of no group.
    """
    figure = go.Figure()
    for k, name in enumerate(names):
        values = probability[(codes == k) & np.isfinite(probability)]
        values = values[:: max(1, len(values) // _MOST_POINTS)]
        figure.add_trace(
            go.Violin(
                y=values,
                name=hover(name, 24),
                points=False,
                box={"visible": True},
                line={"color": "#5f7d95"},
                fillcolor="rgba(95, 125, 149, 0.35)",
                showlegend=False,
                spanmode="hard",
            )
        )
    for limit, color in ((SURE, SENSITIVE), (1 - SURE, RESISTANT)):
        figure.add_hline(y=limit, line={"color": color, "dash": "dot", "width": 1.5})
    figure.update_layout(
        height=380, yaxis={"title": _PROBABILITY, "range": [0, 1]}, xaxis={"type": "category"}, **_LAYOUT
    )
    return figure


def draw_shares(table: pd.DataFrame) -> go.Figure:
    """Shares of cells called resistant, sensitive and neither, one bar a group."""
    figure, names = go.Figure(), [hover(name, 24) for name in table["group"]]
    for column, title, color in (
        ("resistant", "resistant", RESISTANT),
        ("cannot_tell", "can't tell", OPEN),
        ("sensitive", "sensitive", SENSITIVE),
    ):
        figure.add_trace(
            go.Bar(
                x=names,
                y=100 * table[column],
                name=title,
                marker={"color": color},
                customdata=table["n_cells"],
                hovertemplate=f"%{{x}} (%{{customdata:,}} cells)<br>{title} %{{y:.0f}} %<extra></extra>",
            )
        )
    axis = {"title": "share of cells, %", "range": [0, 100]}
    figure.update_layout(height=380, barmode="stack", yaxis=axis, xaxis={"type": "category"}, **_LAYOUT)
    return figure


def draw_differences(table: pd.DataFrame, first: str, second: str) -> go.Figure:
    """Drugs by the difference of two groups: `drug`, `difference`, `trust`; the largest each way."""
    table = table.iloc[::-1]
    colors = np.where(table["difference"] >= 0, SENSITIVE, RESISTANT)
    figure = go.Figure(
        go.Bar(
            x=table["difference"],
            y=[hover(name, 26) for name in table["drug"]],
            orientation="h",
            marker={"color": colors, "opacity": np.where(table["trust"].isin(["better", "some"]), 0.9, 0.35)},
            customdata=table[["first", "second", "trust"]],
            hovertemplate="<b>%{y}</b><br>%{x:+.2f} (%{customdata[0]:.2f} against %{customdata[1]:.2f})<br>"
            "trust: %{customdata[2]}<extra></extra>",
        )
    )
    axis = {"title": f"more sensitive in {hover(second, 18)} ← difference → {hover(first, 18)}", "zeroline": True}
    height = max(300, 22 * len(table) + 120)
    figure.update_layout(height=height, xaxis=axis, yaxis=NAMES, **_LAYOUT)
    return figure


def draw_cover(by_group: np.ndarray, drugs: Sequence[str], groups: Sequence[str]) -> go.Figure:
    """How likely the best drug so far hits each group: rows are drugs as they are added, columns are groups."""
    names = [f"{'+ ' if k else ''}{hover(name, 26)}" for k, name in enumerate(drugs)]
    figure = go.Figure(
        go.Heatmap(
            z=by_group,
            x=[hover(name, 18) for name in groups],
            y=names,
            zmin=0,
            zmax=1,
            colorscale="Cividis",
            colorbar={"title": "probability", "thickness": 12},
            text=np.round(by_group, 2),
            texttemplate="%{text}",
            hovertemplate="%{y}<br>%{x}: %{z:.2f}<extra></extra>",
        )
    )
    height = 130 + 44 * len(names)
    figure.update_layout(height=height, yaxis=NAMES | {"autorange": "reversed"}, xaxis={"type": "category"}, **_LAYOUT)
    return figure
