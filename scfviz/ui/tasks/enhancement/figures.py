"""Pictures of an enhancement: what methods are worth as depth, and genes before and after."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from scfviz.ui.drawing import palette
from scfviz.ui.drawing.charts import CLEAR
from scfviz.ui.frame.text import hover

UNIT = "ln(1 + counts per 10,000)"
BEFORE, AFTER = "#8f999b", "#2f98a0"
_FOLDS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100]
_MOST_POINTS = 5_000  # of a figure, a random sample of more
_LAYOUT = {**CLEAR, "margin": {"t": 8, "r": 8}}


def draw_worth(curve: pd.DataFrame, methods: pd.DataFrame, asked: str) -> go.Figure:
    """Correlation per gene of raw counts by depth, and of each method at the depth that it is worth."""
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=curve["share_of_depth"],
            y=curve["correlation"],
            mode="lines+markers",
            name="counts, thinned",
            line={"color": BEFORE, "width": 2},
            hovertemplate="%{x:.2~g} of the depth<br>r %{y:.3f}<extra></extra>",
        )
    )
    known = methods[methods["fold"].notna()]
    for color, (_, row) in zip(palette.CATEGORIES, known.iterrows(), strict=False):
        reach = {"type": "data", "symmetric": False, "thickness": 1.2, "width": 3, "color": color}
        figure.add_trace(
            go.Scatter(
                x=[row["fold"]],
                y=[row["correlation"]],
                mode="markers",
                name=hover(row["method"]),
                error_x=reach
                | {"array": [row["fold_high"] - row["fold"]], "arrayminus": [row["fold"] - row["fold_low"]]},
                marker={"color": color, "size": 15 if row["method"] == asked else 9, "line": {"width": 0}},
                hovertemplate=f"{hover(row['method'])}<br>worth %{{x:.2f}} times the depth<br>r %{{y:.3f}}"
                "<extra></extra>",
            )
        )
    figure.update_layout(
        height=340,
        xaxis={"title": "times the depth of your cells", "type": "log", "tickvals": _FOLDS, "ticktext": _FOLDS},
        yaxis={"title": "correlation per gene (median)"},
        hovermode="closest",
        **_LAYOUT | {"margin": {"t": 40, "r": 8}},  # the toolbar lies above the legend
    )
    return figure


def draw_halves(before: np.ndarray, after: np.ndarray, groups: Sequence[str], title: str) -> go.Figure:
    """Violins of a gene in groups of cells, counts on the left and enhanced values on the right, on one scale."""
    chosen = sample(len(before))
    names = np.asarray([hover(name, 40) for name in np.asarray(groups)[chosen]])
    figure = go.Figure()
    for side, color, values, name in (
        ("negative", BEFORE, before, "counts"),
        ("positive", AFTER, after, "enhanced"),
    ):
        figure.add_trace(
            go.Violin(
                x=names,
                y=values[chosen],
                side=side,
                name=name,
                legendgroup=name,
                scalegroup=name,
                spanmode="hard",
                line={"color": color, "width": 1.2},
                meanline={"visible": True},
                points=False,
                hoverinfo="skip",
            )
        )
    figure.update_layout(
        height=340,
        violingap=0.1,
        violinmode="overlay",
        yaxis={"title": f"{title}, {UNIT}", "rangemode": "tozero"},
        xaxis={"categoryorder": "category ascending"},
        **_LAYOUT,
    )
    return figure


def draw_pair(one: np.ndarray, other: np.ndarray, names: tuple[str, str], ends: tuple[float, float]) -> go.Figure:
    """Two genes against each other, a point a cell; `ends` of the axes, so that two pictures can be compared."""
    chosen = sample(len(one))
    figure = go.Figure(
        go.Scattergl(
            x=one[chosen],
            y=other[chosen],
            mode="markers",
            hoverinfo="skip",
            marker={"color": AFTER, "size": 4, "opacity": 0.5},
        )
    )
    figure.update_layout(
        height=340,
        xaxis={"title": hover(names[0]), "range": [-0.03 * ends[0], 1.03 * ends[0]]},
        yaxis={"title": hover(names[1]), "range": [-0.03 * ends[1], 1.03 * ends[1]]},
        **_LAYOUT,
    )
    return figure


def sample(n_cells: int) -> np.ndarray:
    """Which cells are drawn: all, or a random sample of 5,000."""
    return np.sort(np.random.default_rng(0).permutation(n_cells)[:_MOST_POINTS])
