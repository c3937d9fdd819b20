"""Figures. Every text from a file goes through `hover`, because Plotly reads HTML in labels."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from scfviz.ui.drawing import palette
from scfviz.ui.frame.text import hover

TOOLBAR_PIXELS = 34  # above a figure whose buttons are to lie on nothing
FEWEST_SMOOTHED = 40  # records of a pretraining curve
CLEAR = {  # what lies below shows through, also under the buttons; Plotly takes a clear ground for a black one
    "paper_bgcolor": "rgba(0, 0, 0, 0)",
    "plot_bgcolor": "rgba(0, 0, 0, 0)",
    "modebar": {"bgcolor": "rgba(0, 0, 0, 0)", "color": "#7f8c8f", "activecolor": "#0e8088"},
}


def toolbar(filename: str, image_format: str = "svg") -> dict:
    """Plotly's own toolbar: zoom, and the figure as a picture."""
    return {
        "displaylogo": False,
        "scrollZoom": True,
        "displayModeBar": True,
        "modeBarButtonsToRemove": ["lasso2d", "select2d", "autoScale2d"],
        "toImageButtonOptions": {
            "format": image_format,
            "filename": filename,
            "scale": 1 if image_format == "svg" else 3,
        },
    }


def draw_quality(
    values: np.ndarray, kept: np.ndarray, *, x_title: str, log: bool, limit: float | None = None
) -> go.Figure:
    """Distribution of a quality measure over the cells, with the cells that the filters remove set apart.

    Parameters
    ----------
    values
        float (n_cells,), one measure.
    kept
        bool (n_cells,).
    log
        Bins of equal width in the logarithm; cells with 0 are counted in the first one.
    limit
        Drawn as a line where it lies inside the figure.
    """
    known = values[np.isfinite(values)]
    top = float(known.max()) if known.size else 1.0
    if log:
        bottom = max(float(known[known > 0].min()) if (known > 0).any() else 1.0, 1e-9)
        edges = np.geomspace(bottom, max(top, bottom * 1.01) * 1.000001, 41)
    else:
        edges = np.linspace(0.0, max(top, 1e-9) * 1.000001, 41)
    clipped = np.clip(values, edges[0], None)
    figure = go.Figure()
    for mask, name, color in ((kept, "kept", "#2f98a0"), (~kept, "removed", "#d98236")):
        counts, _ = np.histogram(clipped[mask & np.isfinite(values)], edges)
        spans = [f"{low:,.0f} – {high:,.0f}" if top > 20 else f"{low:.2f} – {high:.2f}" for low, high in _pairs(edges)]
        centres = np.sqrt(edges[:-1] * edges[1:]) if log else (edges[:-1] + edges[1:]) / 2
        figure.add_trace(
            go.Bar(
                x=centres,
                y=counts,
                width=np.diff(edges),
                name=name,
                marker={"color": color, "line": {"width": 0}},
                customdata=spans,
                hovertemplate=f"%{{y:,}} cells {name}<br>%{{customdata}}<extra></extra>",
            )
        )
    axis: dict = {"title": x_title, "type": "log" if log else "linear", "showgrid": False, "ticks": "outside"}
    if log:
        marks = log_ticks(edges[0], edges[-1])
        axis |= {"tickvals": marks, "ticktext": [f"{mark:,.0f}" if mark >= 1 else f"{mark:g}" for mark in marks]}
        axis |= {"tickangle": 0, "minor": {"ticks": "outside", "ticklen": 3, "dtick": "D1"}}
    figure.update_layout(
        height=230,
        barmode="stack",
        bargap=0,
        showlegend=False,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        **CLEAR,
        xaxis=axis,
        yaxis={"title": "cells", "nticks": 4},
        dragmode=False,
    )
    if limit is not None and edges[0] <= limit <= edges[-1]:
        figure.add_vline(limit, line={"color": "#d98236", "width": 1.5, "dash": "dash"})
    return figure


def log_ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Round numbers inside a range, for an axis of logarithms: as many as fit, of 1-3-10, 1-2-5, 1-2-3-5 or finer."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    found: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5), (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)):
        marks = [float(step * power) for power in powers for step in steps if low <= step * power <= high]
        if len(found) < len(marks) <= most or (len(found) < 2 and len(marks) > most):
            found = marks
    return found[:: -(-len(found) // most)] if found else []


def draw_training(
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]], y_title: str, *, smooth: bool = True
) -> go.Figure:
    """Pretraining curves by name: (step, value) of each; where there are many, a smoothed one over faint points."""
    figure = go.Figure()
    for color, (name, (steps, values)) in zip(palette.CATEGORIES, curves.items(), strict=False):
        is_smoothed = smooth and len(values) >= FEWEST_SMOOTHED
        if is_smoothed:
            figure.add_trace(
                go.Scatter(
                    x=steps,
                    y=values,
                    mode="markers",
                    name=hover(f"{name}, each record"),
                    marker={"color": color, "size": 4, "opacity": 0.28},
                    hoverinfo="skip",
                    showlegend=False,
                )
            )
        figure.add_trace(
            go.Scatter(
                x=steps,
                y=_smoothed(values) if is_smoothed else values,
                mode="lines" if len(steps) > 1 else "markers",
                name=hover(name),
                line={"color": color, "width": 2.5},
                hovertemplate="step %{x:,}<br><b>%{y:.4~g}</b><extra>" + _inert(hover(name)) + "</extra>",
            )
        )
    figure.update_layout(
        height=300,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        **CLEAR,
        hovermode="x unified",
        xaxis={"title": "optimiser step"},
        yaxis={"title": y_title},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Running mean over a tenth of the records, fewer at the ends, so that the curve has no lag and loses no end."""
    half = max(1, len(values) // 20)
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    at = np.arange(len(values))
    start, stop = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    return (sums[stop] - sums[start]) / (stop - start)


def _pairs(edges: np.ndarray):
    return zip(edges[:-1], edges[1:], strict=True)


def _inert(text: str) -> str:
    """No text from a file is read as a `%{...}` field of a hover template."""
    return text.replace("%{", "%&#123;")
