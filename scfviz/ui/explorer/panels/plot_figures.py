"""Pictures of genes in groups and of groups in groups, for the screen; `plot_prints` draws the same for print.

Names from files go through `hover`, because Plotly reads HTML in labels. Genes are the model's own symbols.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scfviz.analysis.groups import Composition, GroupSummary, Violin
from scfviz.ui.drawing import palette
from scfviz.ui.frame.text import hover

if TYPE_CHECKING:
    import plotly.graph_objects as go

ROW, COLUMN = 25, 44  # pixels of a group and of a gene
_DOT = 19  # pixels of a dot that stands for all cells
_WIDE = 20  # from this many genes on, a picture takes the whole width
SIZES = (0.1, 0.25, 0.5, 0.75, 1.0)
UNIT = "mean of ln(1 + counts per 10,000)"
_INK = {True: "#e2ebeb", False: "#16282c"}  # dark, light
_CLEAR = "rgba(0, 0, 0, 0)"


def color_scale(*, diverging: bool, dark: bool) -> list[str]:
    """Colours from low to high: viridis as on the maps, or blue to orange around what is alike."""
    if diverging:
        if dark:
            return ["#6cc3f5", "#2f6f96", "#222f32", "#a45a1e", "#ffa45c"]
        return ["#0072b2", "#7fb4d6", "#eef1f1", "#e8a878", "#d55e00"]
    return list(palette.VALUES_ON_DARK if dark else palette.VALUES_ON_LIGHT)


def color_range(values: np.ndarray, *, diverging: bool) -> tuple[float, float]:
    """Where the colours end: around zero for what is diverging, else from zero or less to the highest value."""
    if diverging:
        reach = max(float(np.abs(values).max(initial=0.0)), 1e-9)
        return -reach, reach
    return min(0.0, float(values.min(initial=0.0))), max(float(values.max(initial=0.0)), 1e-9)


def draw_dots(
    summary: GroupSummary, values: np.ndarray, names: Sequence[str], title: str, *, diverging: bool, dark: bool
) -> "go.Figure":
    """A dot plot: the area of a dot is the share of cells that express the gene, its colour is a value.

    Parameters
    ----------
    values
        float (n_groups, n_genes): what the colours show, called `title`.
    names
        The groups as they are written beside the rows.
    """
    import plotly.graph_objects as go

    low, high = color_range(values, diverging=diverging)
    figure = go.Figure(
        _marks(
            summary,
            values,
            names,
            title,
            {
                "size": _dot_size(summary.fraction).ravel(),
                "opacity": 1,  # else Plotly makes dots of different sizes pale, unlike the colour bar
                "color": values.ravel(),
                "cmin": low,
                "cmax": high,
                "colorscale": color_scale(diverging=diverging, dark=dark),
                "line": {"width": 0.5, "color": palette.OTHER},
                "colorbar": _color_bar(title, 0.0),
            },
        )
    )
    for share in SIZES:  # the legend of sizes
        figure.add_trace(
            go.Scatter(
                x=[None],
                y=[None],
                mode="markers",
                name=f"{share:.0%}",
                showlegend=True,
                hoverinfo="skip",
                marker={"size": _dot_size(share), "color": palette.OTHER},
            )
        )
    _lay_out_grid(figure, summary.genes, names, dark)
    figure.update_layout(
        legend={
            "title": {"text": "Cells that<br>express it"},
            "itemsizing": "trace",
            "x": 1.02,
            "y": 1,
            "yanchor": "top",
            "itemclick": False,
            "itemdoubleclick": False,
        },
    )
    return figure


def draw_heatmap(
    summary: GroupSummary, values: np.ndarray, names: Sequence[str], title: str, *, diverging: bool, dark: bool
) -> "go.Figure":
    """Values of genes in groups as coloured fields; parameters as in `draw_dots`."""
    import plotly.graph_objects as go

    low, high = color_range(values, diverging=diverging)
    figure = go.Figure(
        go.Heatmap(
            z=values.astype(np.float32),
            zmin=low,
            zmax=high,
            xgap=1,
            ygap=1,
            hoverinfo="skip",
            colorscale=color_scale(diverging=diverging, dark=dark),
            colorbar=_color_bar(title, 0.5, 0.5),
        )
    )
    # Fields answer no clicks; unseen marks above them do, and carry the hover box.
    figure.add_trace(_marks(summary, values, names, title, {"size": ROW, "symbol": "square", "opacity": 0}))
    _lay_out_grid(figure, summary.genes, names, dark)
    return figure


def draw_violins(violins: Sequence[Violin], names: Sequence[str], colors: Sequence[str], *, dark: bool) -> "go.Figure":
    """Violins in rows of genes and columns of groups; each row has its own scale from 0 to its highest value.

    Parameters
    ----------
    violins
        Gene by gene and, in each, group by group.
    names, colors
        Of the groups.
    """
    import plotly.graph_objects as go

    n_groups = len(names)
    genes = [violin.variable for violin in violins[::n_groups]]
    tops, steps = row_tops(violins, n_groups), 48 if len(violins) <= 300 else 24
    figure = go.Figure()
    for group, color in enumerate(colors):
        own = violins[group::n_groups]
        outline = [
            violin_outline(v, group, -row, top, steps) for row, (v, top) in enumerate(zip(own, tops, strict=True))
        ]
        figure.add_trace(
            go.Scatter(
                x=np.concatenate([x for x, _ in outline]),
                y=np.concatenate([y for _, y in outline]),
                mode="lines",
                fill="toself",
                fillcolor=color,
                line={"color": color, "width": 1},
                hoverinfo="skip",
            )
        )
    rows = [(i // n_groups, i % n_groups, violin) for i, violin in enumerate(violins)]
    details = [
        [hover(v.group), v.n_cells, 100 * (1 - v.n_zero / max(v.n_cells, 1)), v.mean, *v.quantiles[1:4]]
        for _, _, v in rows
    ]
    figure.add_trace(
        go.Scatter(
            x=[group for _, group, _ in rows],
            y=[-row + 0.86 * v.quantiles[2] / tops[row] for row, _, v in rows],
            mode="markers",
            text=[v.variable for _, _, v in rows],
            customdata=details,
            marker={"size": 7, "color": "#fdfefe", "line": {"width": 1.5, "color": "#16282c"}},
            unselected={"marker": {"opacity": 1}},
            hovertemplate="<b>%{text}</b> in %{customdata[0]}<br>%{customdata[1]:,} cells, %{customdata[2]:.3~g} % "
            "express it<br>mean %{customdata[3]:.3~f}, median %{customdata[5]:.3~f} "
            "(quartiles %{customdata[4]:.3~f} to %{customdata[6]:.3~f})<extra></extra>",
        )
    )
    height = max(60, min(240, 1000 // max(1, len(genes))))
    ends = ((0, "0"), (0.86, None)) if height >= 90 else ((0.86, None),)  # a zero would touch the row below
    ticks = [(-row + at, text or f"{top:.2g}") for row, top in enumerate(tops) for at, text in ends]
    for row, gene in enumerate(genes):
        figure.add_annotation(
            x=0, xref="paper", y=-row + 0.43, xshift=-30, text=f"<b>{gene}</b>", showarrow=False, xanchor="right"
        )
        figure.add_shape(
            type="line",
            x0=-0.6,
            x1=n_groups - 0.4,
            y0=-row,
            y1=-row,
            line={"width": 0.5, "color": palette.OTHER},
            layer="below",
        )
    _frame(
        figure,
        dark,
        height=height * len(genes) + 150,
        width=_width(n_groups, 64),
        showlegend=False,
        hoverdistance=60,
        margin={"l": 46 + 9 * max(map(len, genes)), "r": 12, "t": 8, "b": 8},
    )
    figure.update_xaxes(
        tickvals=list(range(n_groups)),
        ticktext=[hover(name, 40) for name in names],
        showgrid=False,
        range=[-0.6, n_groups - 0.4],
        tickangle=-40 if n_groups > 4 else 0,
        automargin=True,
    )
    figure.update_yaxes(
        tickvals=[at for at, _ in ticks],
        ticktext=[text for _, text in ticks],
        range=[-len(genes) + 0.9, 0.98],
    )
    return figure


def row_tops(violins: Sequence[Violin], n_groups: int) -> list[float]:
    """The highest value of each gene in any group; 1 where all cells have none."""
    tops = [np.nanmax([v.quantiles[-1] for v in violins[i : i + n_groups]]) for i in range(0, len(violins), n_groups)]
    return [float(top) if top > 0 else 1.0 for top in tops]


def violin_outline(violin: Violin, x: float, y: float, top: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """The outline of a violin as wide as its neighbours, with a gap at its end: float32 x and y.

    Parameters
    ----------
    x, y
        Its middle and its bottom.
    top
        The value that is 0.86 above the bottom.
    steps
        How many points it has on each side.
    """
    if not len(violin.at):
        return np.array([np.nan], np.float32), np.array([np.nan], np.float32)
    at, density = violin.at, violin.density
    if len(at) > steps:
        fine = np.linspace(at[0], at[-1], steps)
        at, density = fine, np.interp(fine, at, density)
    half = 0.42 * density / density.max()
    xs = np.concatenate([x - half, (x + half)[::-1], [x - half[0], np.nan]])
    ys = y + 0.86 * np.concatenate([at, at[::-1], [at[0], np.nan]]) / top
    return xs.astype(np.float32), ys.astype(np.float32)


def draw_composition(
    found: Composition, names: Sequence[str], colors: Sequence[str], *, shares: bool, what: str, dark: bool
) -> "go.Figure":
    """Stacked bars, one for each row; `names` of the rows, `colors` of the parts, `what` the parts are."""
    import plotly.graph_objects as go

    figure = go.Figure()
    lengths = 100 * found.fractions if shares else found.counts
    y = np.arange(len(found.rows))
    for part, (name, color) in enumerate(zip(found.parts, colors, strict=True)):
        details = np.stack([found.counts[:, part], 100 * found.fractions[:, part]], axis=1)
        figure.add_trace(
            go.Bar(
                x=lengths[:, part],
                y=y,
                orientation="h",
                name=hover(name, 32),
                text=[hover(row) for row in found.rows],
                textposition="none",
                customdata=[[*detail, row, part] for row, detail in enumerate(details.tolist())],
                marker={"color": color, "line": {"width": 0.5, "color": "#10191b" if dark else "#fdfefe"}},
                unselected={"marker": {"opacity": 1}},
                hovertemplate=f"<b>{_inert(hover(name))}</b> in %{{text}}<br>%{{customdata[0]:,}} cells, "
                "%{customdata[1]:.3~g} %<extra></extra>",
            )
        )
    rows_of_legend = -(-len(found.parts) // 5)
    _frame(
        figure,
        dark,
        barmode="stack",
        bargap=0.18,
        height=110 + 30 * len(found.rows) + 22 * rows_of_legend,
        margin={"l": 8, "r": 16, "t": 8, "b": 8},
        legend={
            "orientation": "h",
            "y": 1.0,
            "yanchor": "bottom",
            "x": 0,
            "traceorder": "normal",
            "title": {"text": f"<b>{hover(what, 40)}</b>"},
        },
    )
    figure.update_xaxes(
        title="share of the cells of each row, %" if shares else "cells",
        range=[0, 100] if shares else None,
        ticks="outside",
    )
    figure.update_yaxes(
        tickvals=y,
        ticktext=[hover(name, 48) for name in names],
        automargin=True,
        range=[len(found.rows) - 0.45, -0.55],
    )
    return figure


def _marks(summary: GroupSummary, values: np.ndarray, names: Sequence[str], title: str, marker: dict) -> "go.Scatter":
    import plotly.graph_objects as go

    n_groups, n_genes = values.shape
    details = np.stack([100 * summary.fraction.ravel(), summary.mean.ravel(), values.ravel()], axis=1)
    shown = "" if values is summary.mean else f"<br>{title} %{{customdata[2]:.2~f}}"
    return go.Scatter(
        x=np.tile(np.arange(n_genes), n_groups),
        y=np.repeat(np.arange(n_groups), n_genes),
        mode="markers",
        text=list(summary.genes) * n_groups,
        hovertext=np.repeat([hover(name) for name in names], n_genes),
        customdata=details.astype(np.float32),
        marker=marker,
        showlegend=False,
        unselected={"marker": {"opacity": marker.get("opacity", 1)}},
        hovertemplate="<b>%{text}</b> in %{hovertext}<br>%{customdata[0]:.3~g} % of cells express it<br>"
        f"{UNIT} %{{customdata[1]:.3~f}}{shown}<extra></extra>",
    )


def _lay_out_grid(figure: "go.Figure", genes: Sequence[str], names: Sequence[str], dark: bool) -> None:
    _frame(
        figure,
        dark,
        height=max(340, ROW * len(names) + 110),
        width=_width(len(genes), COLUMN),
        hoverdistance=30,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
    )
    figure.update_xaxes(
        tickvals=list(range(len(genes))),
        ticktext=[f"<i>{gene}</i>" for gene in genes],
        showgrid=False,
        tickangle=-90 if len(genes) > 10 else -40,
        range=[-0.6, len(genes) - 0.4],
        automargin=True,
    )
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[hover(name, 48) for name in names],
        range=[len(names) - 0.4, -0.6],
        automargin=True,
    )


def _frame(figure: "go.Figure", dark: bool, **layout) -> None:
    """What all pictures share: the card's ground, readable letters, clicks but no zoom."""
    color = _INK[dark]
    figure.update_layout(
        paper_bgcolor=_CLEAR,
        plot_bgcolor=_CLEAR,
        font={"color": color, "size": 12},
        hovermode="closest",
        dragmode=False,
        clickmode="event+select",
        **layout,
    )
    figure.update_xaxes(tickfont={"color": color}, title_font={"color": color}, fixedrange=True, zeroline=False)
    figure.update_yaxes(tickfont={"color": color}, fixedrange=True, zeroline=False, showgrid=False)
    figure.update_layout(legend={"font": {"color": color}, "title_font": {"color": color}})


def _color_bar(title: str, y: float, length: float = 0.45) -> dict:
    return {
        "title": {"text": title.replace(" of ", "<br>of ", 1), "side": "top"},
        "thickness": 12,
        "len": length,
        "lenmode": "fraction",
        "y": y,
        "yanchor": "middle" if y else "bottom",
        "outlinewidth": 0,
        "nticks": 5,
    }


def _width(n: int, pixels: int) -> int | None:
    """Pixels of a picture with few columns; with many, all there are."""
    return None if n >= _WIDE * COLUMN / pixels else 420 + pixels * n


def _dot_size(share: float | np.ndarray) -> np.ndarray:
    return np.where(np.asarray(share) > 0, np.maximum(1.5, _DOT * np.sqrt(share)), 0.0)


def _inert(text: str) -> str:
    return text.replace("%{", "%&#123;")
