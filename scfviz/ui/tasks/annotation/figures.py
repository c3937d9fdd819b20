"""Figures of an annotation."""

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from scfviz.ui.drawing.charts import CLEAR

_LINE = "#2f98a0"


def draw_risk(rows: Sequence[Mapping[str, float]]) -> go.Figure:
    """Share of wrong labels by the share of cells that get one, the most certain first; see `risk_coverage`."""
    figure = go.Figure(
        go.Scatter(
            x=[row["coverage"] for row in rows],
            y=[row["risk"] for row in rows],
            customdata=[row["confidence"] for row in rows],
            mode="lines+markers",
            line={"color": _LINE, "width": 2},
            marker={"size": 5},
            hovertemplate="%{x:.0%} of the cells<br>%{y:.1%} of the labels wrong<br>confidence %{customdata:.2f} and "
            "more<extra></extra>",
        )
    )
    figure.update_layout(
        height=300,
        xaxis={"title": "share of cells with a label", "tickformat": ".0%", "range": [0, 1.02]},
        yaxis={"title": "share of wrong labels", "tickformat": ".0%", "rangemode": "tozero"},
        **CLEAR,
        margin={"t": 8, "r": 8},
    )
    return figure
