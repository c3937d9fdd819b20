"""Figures. Every text from a file goes through `hover`, because Plotly reads HTML in labels."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from scfviz.ui.drawing import palette
from scfviz.ui.drawing.coloring import Labels, Values
from scfviz.ui.frame.text import hover, shorten

MAX_SVG = 5_000  # points that a browser draws smoothly without WebGL
MAX_WEBGL = 50_000
NAMED = 5_000  # cells whose names travel with the figure
FEWEST_SMOOTHED = 40  # records of a pretraining curve
_CLEAR = {  # what lies below shows through, also under the buttons
    "paper_bgcolor": "rgba(0, 0, 0, 0)",
    "plot_bgcolor": "rgba(0, 0, 0, 0)",
    "modebar": {"bgcolor": "rgba(0, 0, 0, 0)"},
}
_AXIS = {"showgrid": False, "zeroline": False, "showticklabels": False, "ticks": "", "title": None}


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


def shown_cells(n_cells: int, *, webgl: bool = True, seed: int = 0) -> np.ndarray:
    """Which cells to draw: all of them, or a random sample, which keeps dense places dense and thin places thin.

    Returns
    -------
    np.ndarray
        int64 (n_shown,), ascending.
    """
    limit = MAX_WEBGL if webgl else MAX_SVG
    if n_cells <= limit:
        return np.arange(n_cells)
    return np.sort(np.random.default_rng(seed).choice(n_cells, limit, replace=False))


def draw_maps(
    maps: Mapping[str, np.ndarray],
    coloring: Labels | Values,
    *,
    names: Sequence[str],
    point_size: float = 4.0,
    webgl: bool = True,
    dark: bool = False,
) -> go.Figure:
    """Maps of the same cells side by side, coloured alike; the legend acts on all of them at once.

    Parameters
    ----------
    maps
        By title: float32 (n_cells, 2), at most `MAX_WEBGL` cells.
    names
        One name per cell, shown in the hover box of small figures.
    webgl
        Draw more than `MAX_SVG` cells with the graphics card.
    """
    n_cells = len(next(iter(maps.values())))
    figure = make_subplots(1, len(maps), subplot_titles=[hover(title) for title in maps], horizontal_spacing=0.03)
    marker_type = go.Scattergl if webgl and n_cells > MAX_SVG else go.Scatter
    cell_names = np.array([hover(name, 48) for name in names], object) if n_cells <= NAMED else None
    for column, points in enumerate(maps.values(), start=1):
        add = _add_labels if isinstance(coloring, Labels) else _add_values
        add(figure, column, np.asarray(points), coloring, cell_names, marker_type, point_size, dark)
        figure.update_xaxes(_AXIS, col=column)
        anchor = {"scaleanchor": f"x{column if column > 1 else ''}", "constrain": "range"}
        figure.update_yaxes(_AXIS | anchor, col=column)
    _lay_out(figure, coloring)
    return figure


def _lay_out(figure: go.Figure, coloring: Labels | Values) -> None:
    """Titles above, legend below; the height grows with the legend, so that the maps keep theirs."""
    names = coloring.names if isinstance(coloring, Labels) else ()
    per_row = max(1, 880 // (46 + 6 * min(max(map(len, names), default=0), 32)))
    rows = -(-len(names) // per_row)
    maps = 530 if len(figure.layout.annotations) < 3 else 430  # three are narrower, and as high as they are wide
    figure.update_layout(
        height=maps + (24 * rows if rows else 50),
        margin={"l": 4, "r": 4, "t": 62, "b": 8 if rows else 66},
        dragmode="pan",
        hovermode="closest",
        plot_bgcolor=palette.PANEL,
        legend={"orientation": "h", "x": 0, "y": -0.02, "yanchor": "top", "itemsizing": "constant", "title": None},
    )
    for number, annotation in enumerate(figure.layout.annotations, start=1):
        left = figure.layout[f"xaxis{number if number > 1 else ''}"].domain[0]
        annotation.update(x=left, xanchor="left", y=1.0, yanchor="bottom", yshift=4, font={"size": 14})


def _add_labels(figure, column, points, coloring, cell_names, marker_type, point_size, dark) -> None:
    counts = np.bincount(coloring.codes, minlength=len(coloring.names))
    # All cells once more in grey below: a category that is switched off in the legend stays visible as ground.
    figure.add_trace(
        marker_type(
            x=points[:, 0],
            y=points[:, 1],
            mode="markers",
            hoverinfo="skip",
            showlegend=False,
            marker={"size": point_size, "color": palette.FAINT},
        ),
        row=1,
        col=column,
    )
    for code in np.argsort(-counts, kind="stable"):  # the largest first, so that small ones lie on top
        cells = coloring.codes == code
        if not counts[code]:
            continue
        name, label = coloring.names[code], hover(coloring.names[code])
        figure.add_trace(
            marker_type(
                x=points[cells, 0],
                y=points[cells, 1],
                mode="markers",
                name=hover(shorten(name, 32)),
                legendgroup=str(code),
                legendrank=int(code),
                showlegend=column == 1,
                marker={"size": point_size, "color": coloring.colors[code], "line": {"width": 0}},
                text=None if cell_names is None else cell_names[cells],
                customdata=[label] * int(counts[code]) if cell_names is not None else None,
                hovertemplate=(
                    f"{_inert(label)}<br>{counts[code]:,} cells<extra></extra>"
                    if cell_names is None
                    else f"<b>%{{customdata}}</b><br>%{{text}}<br>{counts[code]:,} cells in this group<extra></extra>"
                ),
            ),
            row=1,
            col=column,
        )


def _add_values(figure, column, points, coloring, cell_names, marker_type, point_size, dark) -> None:
    order = np.argsort(np.nan_to_num(coloring.values, nan=-np.inf), kind="stable")  # high values on top
    known = order[np.isfinite(coloring.values[order])]
    unknown = order[~np.isfinite(coloring.values[order])]
    if unknown.size:
        figure.add_trace(
            marker_type(
                x=points[unknown, 0],
                y=points[unknown, 1],
                mode="markers",
                showlegend=False,
                marker={"size": point_size, "color": palette.FAINT},
                hovertemplate="not known<extra></extra>",
            ),
            row=1,
            col=column,
        )
    title = hover(shorten(coloring.title, 24)) + (f"<br>{hover(coloring.unit, 40)}" if coloring.unit else "")
    figure.add_trace(
        marker_type(
            x=points[known, 0],
            y=points[known, 1],
            mode="markers",
            showlegend=False,
            text=None if cell_names is None else cell_names[known],
            customdata=coloring.values[known],
            hovertemplate=("" if cell_names is None else "%{text}<br>")
            + "<b>%{customdata:.3~f}</b> "
            + _inert(hover(coloring.unit, 40))
            + "<extra></extra>",
            marker={
                "size": point_size,
                "color": coloring.values[known],
                "cmin": coloring.low,
                "cmax": coloring.high,
                "colorscale": list(palette.VALUES_ON_DARK if dark else palette.VALUES_ON_LIGHT),
                "line": {"width": 0},
                "showscale": column == 1,
                "colorbar": {
                    "title": {"text": title, "side": "top"},
                    "orientation": "h",
                    "thickness": 10,
                    "len": 0.42,
                    "x": 0,
                    "xanchor": "left",
                    "y": -0.02,
                    "yanchor": "top",
                    "outlinewidth": 0,
                },
            },
        ),
        row=1,
        col=column,
    )


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
        **_CLEAR,
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
        **_CLEAR,
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
