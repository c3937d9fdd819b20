"""Pictures of perturbations: predicted changes as a volcano and as bars with intervals, measured ones beside them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from scfviz.ui.drawing import palette
from scfviz.ui.drawing.charts import CLEAR
from scfviz.ui.frame.text import hover

UNIT = "ln(1 + counts per 10,000)"
HIGHER, LOWER, NEITHER, MEASURED = "#d55e00", "#0072b2", "#8f999b", "#16a06a"
_NAMED = 12
_LAYOUT = {
    **CLEAR,
    "margin": {"t": 34, "r": 8, "b": 72},
    "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},  # above is the toolbar
}


def draw_volcano(table: pd.DataFrame, x_title: str, y_title: str) -> go.Figure:
    """Every gene: `x`, `y`, and `side` (1, -1, 0), with its name; those that stand out are named."""
    figure = go.Figure()
    for side, color, name in ((0, NEITHER, "not clear"), (-1, LOWER, "lower"), (1, HIGHER, "higher")):
        part = table[table["side"] == side]
        figure.add_trace(
            go.Scattergl(
                x=part["x"],
                y=part["y"],
                mode="markers",
                name=name,
                text=[hover(gene) for gene in part["gene"]],
                marker={"color": color, "size": 5, "opacity": 0.75},
                hovertemplate=f"<b>%{{text}}</b><br>{x_title} %{{x:.3f}}<br>{y_title} %{{y:.2f}}<extra></extra>",
            )
        )
    for place in find_room(table["x"].to_numpy(), table["y"].to_numpy()):
        row = table.iloc[place]
        figure.add_annotation(
            x=row["x"], y=row["y"], text=hover(row["gene"]), showarrow=False, yshift=9, font={"size": 11}
        )
    figure.update_layout(height=440, xaxis={"title": x_title}, yaxis={"title": y_title}, **_LAYOUT)
    return figure


def find_room(x: np.ndarray, y: np.ndarray) -> list[int]:
    """Points that stand out and whose names do not cover each other."""
    if not len(x):
        return []
    width, height = max(float(np.ptp(x)), 1e-9), max(float(np.ptp(y)), 1e-9)
    found: list[int] = []
    for i in np.argsort(-np.abs(x) * y, kind="stable")[: 10 * _NAMED]:
        if len(found) == _NAMED:
            break
        if all(abs(x[i] - x[k]) > 0.14 * width or abs(y[i] - y[k]) > 0.045 * height for k in found):
            found.append(int(i))
    return found


def draw_bars(
    table: pd.DataFrame, *, beside: str | None = None, beside_name: str = "measured", height: int = 420
) -> go.Figure:
    """The genes that change most: `gene`, `change`, `low`, `high`, and the column `beside` as marks beside them."""
    table = table.iloc[::-1]
    names = [hover(gene, 20) for gene in table["gene"]]
    colors = np.where(table["change"] >= 0, HIGHER, LOWER)
    figure = go.Figure(
        go.Bar(
            x=table["change"],
            y=names,
            orientation="h",
            name="change",
            marker={"color": colors, "opacity": 0.8},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": table["high"] - table["change"],
                "arrayminus": table["change"] - table["low"],
                "color": NEITHER,  # seen on light and on dark
                "thickness": 1.4,
                "width": 2,
            },
            customdata=np.stack([table["low"], table["high"]], axis=1),
            hovertemplate="<b>%{y}</b><br>%{x:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})<extra></extra>",
        )
    )
    if beside is not None and table[beside].notna().any():
        figure.add_trace(
            go.Scatter(
                x=table[beside],
                y=names,
                mode="markers",
                name=beside_name,
                marker={"symbol": "diamond", "color": MEASURED, "size": 9},
                hovertemplate="<b>%{y}</b><br>" + beside_name + " %{x:.3f}<extra></extra>",
            )
        )
    figure.update_layout(
        height=height,
        xaxis={"title": f"change, {UNIT}", "zeroline": True},
        yaxis={"dtick": 1, "tickfont": {"size": 11}},
        showlegend=beside is not None,
        **_LAYOUT,
    )
    return figure


def draw_agreement(predicted: np.ndarray, measured: np.ndarray, genes: Sequence[str], title: str) -> go.Figure:
    """What was said of a condition that was held out, against what was measured."""
    known = np.isfinite(predicted) & np.isfinite(measured)
    figure = go.Figure(
        go.Scattergl(
            x=measured[known],
            y=predicted[known],
            mode="markers",
            text=[hover(gene) for gene in np.asarray(genes)[known]],
            marker={"color": palette.CATEGORIES[0], "size": 5, "opacity": 0.7},
            hovertemplate="<b>%{text}</b><br>measured %{x:.3f}<br>predicted %{y:.3f}<extra></extra>",
        )
    )
    reach = float(np.abs(measured[known]).max(initial=0.1))
    figure.add_shape(type="line", x0=-reach, x1=reach, y0=-reach, y1=reach, line={"dash": "dot", "color": NEITHER})
    figure.update_layout(
        height=360, xaxis={"title": "measured change"}, yaxis={"title": title}, showlegend=False, **_LAYOUT
    )
    return figure


def draw_matrix(values: np.ndarray, names: Sequence[str], title: str) -> go.Figure:
    """A square table of numbers around zero, its rows in the order given."""
    reach = float(np.nanquantile(np.abs(values), 0.98)) if np.isfinite(values).any() else 1.0
    labels = [hover(name, 24) for name in names]
    figure = go.Figure(
        go.Heatmap(
            z=values,
            x=labels,
            y=labels,
            zmid=0,
            zmin=-reach,
            zmax=reach,
            colorscale="RdBu_r",
            colorbar={"title": title, "thickness": 12},
            hovertemplate="%{y} · %{x}<br>%{z:.3f}<extra></extra>",
        )
    )
    size = int(min(900, max(380, 16 * len(names) + 140)))
    figure.update_layout(height=size, yaxis={"autorange": "reversed", "dtick": 1}, xaxis={"dtick": 1}, **_LAYOUT)
    return figure
