"""Pictures of a comparison and of an enrichment: for the screen with Plotly, for paper with matplotlib."""

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from scfviz.ui.drawing import palette
from scfviz.ui.frame.text import hover, shorten, shorten_apart

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from matplotlib.figure import Figure

SMALLEST_P = 1e-300  # p values of 0 are below what a number can hold
CLEAR_P, CLEAR_CHANGE = 0.01, 1.0
HIGHER, LOWER = "#d55e00", "#0072b2"
NAMED_ON_PLOT = 12
_INK, _GREY = "#16282c", "#8f999b"
_STYLE = {"svg.fonttype": "none", "font.sans-serif": ["DejaVu Sans", "sans-serif"], "font.size": 9}


class Volcano(NamedTuple):
    """What a volcano plot shows of each gene, (n_genes,) each.

    Attributes
    ----------
    change, height
        log2 fold change, cut at the edge; -log10 of the adjusted p value.
    side
        1: clearly higher, -1: clearly lower, 0: neither.
    edge
        Where the changes are cut: a gene that one side lacks has a change of tens.
    named
        Positions of genes whose names find room.
    """

    names: np.ndarray
    change: np.ndarray
    height: np.ndarray
    side: np.ndarray
    edge: float
    named: tuple[int, ...]


class Bars(NamedTuple):
    """Bars of the best gene sets, the best first.

    Attributes
    ----------
    rows
        Positions of the sets in the table.
    length, adjusted, is_clear
        In `unit`; what `legend` says; whether it is beyond chance.
    """

    rows: np.ndarray
    names: list[str]
    length: np.ndarray
    adjusted: np.ndarray
    is_clear: np.ndarray
    unit: str
    legend: str


def lay_out_volcano(table: pd.DataFrame) -> Volcano:
    """Places of the genes of a comparison; genes without an adjusted p value are left out."""
    adjusted, change = table["pvals_adj"].to_numpy(float), table["logfoldchanges"].to_numpy(float)
    kept = np.isfinite(adjusted) & np.isfinite(change)
    table, change = table[kept], change[kept]
    height = -np.log10(np.maximum(adjusted[kept], SMALLEST_P))
    on_both = (table["pct_in"] > 0) & (table["pct_out"] > 0) if "pct_in" in table else np.ones(len(table), bool)
    edge = max(1.0, 1.2 * float(np.percentile(np.abs(change[on_both]), 99))) if on_both.any() else 1.0
    is_clear = (height > -np.log10(CLEAR_P)) & (np.abs(change) > CLEAR_CHANGE)
    side = np.where(is_clear, np.sign(change), 0).astype(int)
    shown = np.clip(change, -edge, edge)
    at = np.stack([shown / edge, height / max(1.0, height.max(initial=1.0))], axis=1)
    named: list[int] = []
    for i in np.flatnonzero(is_clear)[np.argsort(-np.abs(table["scores"].to_numpy(float)[is_clear]))]:
        if len(named) == NAMED_ON_PLOT:
            break
        if all(abs(at[i, 0] - at[k, 0]) > 0.3 or abs(at[i, 1] - at[k, 1]) > 0.045 for k in named):
            named.append(int(i))
    return Volcano(table["names"].astype(str).to_numpy(), shown, height, side, edge, tuple(named))


def draw_volcano(table: pd.DataFrame) -> "go.Figure":
    """The volcano plot of a comparison; every point carries the name of its gene as `text`."""
    import plotly.graph_objects as go

    found = lay_out_volcano(table)
    rows = table.set_index(table["names"].astype(str)).loc[found.names]
    exact = np.stack([rows["logfoldchanges"].to_numpy(float), rows["pvals_adj"].to_numpy(float)], axis=1)
    figure = go.Figure()
    for side, name, color in _sides():
        mask = found.side == side
        figure.add_trace(
            go.Scattergl(
                x=found.change[mask],
                y=found.height[mask],
                mode="markers",
                name=name,
                text=[hover(gene) for gene in found.names[mask]],
                customdata=exact[mask],
                marker={"size": 5, "color": color, "opacity": 0.7},
                hovertemplate="<b>%{text}</b><br>log2 fold change %{customdata[0]:.2f}<br>"
                "adjusted p %{customdata[1]:.2g}<extra></extra>",
            )
        )
    for i in found.named:
        figure.add_annotation(
            x=float(found.change[i]),
            y=float(found.height[i]),
            text=hover(found.names[i], 20),
            showarrow=False,
            yshift=9,
            font={"size": 10},
        )
    figure.update_layout(
        height=460,
        margin={"l": 8, "r": 8, "t": 34, "b": 8},
        clickmode="event+select",
        dragmode="pan",
        xaxis={"title": "log2 fold change of the mean"},
        yaxis={"title": "−log10 adjusted p value"},
        legend={"orientation": "h", "y": -0.16, "yanchor": "top", "x": 0},
    )
    return figure


def print_volcano(table: pd.DataFrame, kind: str, caption: str) -> bytes:
    """The volcano plot as `svg` or `png`, on white, with a caption."""
    found = lay_out_volcano(table)

    def draw(figure: "Figure") -> None:
        axes = figure.add_axes((0.1, 0.18, 0.87, 0.72))
        for side, name, color in _sides():
            mask = found.side == side
            axes.scatter(
                found.change[mask],
                found.height[mask],
                s=7,
                color=color,
                alpha=0.7,
                linewidths=0,
                label=name,
                rasterized=True,
            )
        for i in found.named:
            place = (found.change[i], found.height[i])
            axes.annotate(
                _plain(found.names[i], 20), place, (0, 4), textcoords="offset points", ha="center", fontsize=7
            )
        axes.set(xlabel="log2 fold change of the mean", ylabel="−log10 adjusted p value")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, handletextpad=0.1, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)

    return _save(draw, (6.4, 4.8), kind, caption)


def lay_out_bars(table: pd.DataFrame, way: str, n_sets: int) -> Bars:
    """The best sets of an enrichment, best first: for a ranking, the best of each end."""
    if way == "list":
        rows = np.flatnonzero(table["n_overlap"] > 0)[:n_sets]
        adjusted = table["pvals_adj"].to_numpy(float)[rows]
        length = -np.log10(np.maximum(adjusted, SMALLEST_P))
        unit, legend = "−log10 adjusted p value", "adjusted p"
    else:
        nes, half = table["nes"].to_numpy(float), n_sets // 2
        rows = np.concatenate([np.flatnonzero(nes > 0)[:half], np.flatnonzero(nes < 0)[half - n_sets :]])
        adjusted, length = table["fdr"].to_numpy(float)[rows], nes[rows]
        unit, legend = "normalised enrichment score", "false discovery rate"
    return Bars(rows, table["name"].astype(str).iloc[rows].tolist(), length, adjusted, adjusted < 0.05, unit, legend)


def draw_bars(table: pd.DataFrame, way: str, n_sets: int) -> "go.Figure":
    """The best gene sets as bars, in the order of `lay_out_bars`."""
    import plotly.graph_objects as go

    bars = lay_out_bars(table, way, n_sets)
    amount = table["n_overlap" if way == "list" else "n_leading"].to_numpy()[bars.rows]
    custom = np.stack([amount, table["n_set"].to_numpy()[bars.rows], bars.adjusted], axis=1)
    word = "of the list in the set" if way == "list" else "leading, of the set"
    figure = go.Figure(
        go.Bar(
            x=bars.length,
            y=list(range(len(bars.names))),
            orientation="h",
            customdata=custom,
            text=[hover(name) for name in bars.names],
            textposition="none",
            marker={"color": _colors(bars)},
            hovertemplate=f"<b>%{{text}}</b><br>%{{customdata[0]}} of %{{customdata[1]}} genes {word}<br>"
            f"{bars.legend} %{{customdata[2]:.2g}}<extra></extra>",
        )
    )
    labels = [hover(name, len(name)) for name in shorten_apart(bars.names, 56)]
    figure.update_layout(
        height=max(240, 96 + 24 * len(bars.names)),
        margin={"l": 8, "r": 8, "t": 34, "b": 8},
        bargap=0.25,
        xaxis={"title": bars.unit},
        clickmode="event+select",
        dragmode=False,
        yaxis={"tickvals": list(range(len(labels))), "ticktext": labels, "autorange": "reversed", "automargin": True},
    )
    return figure


def print_bars(table: pd.DataFrame, way: str, n_sets: int, kind: str, caption: str) -> bytes:
    """The best gene sets as `svg` or `png`, on white, with a caption."""
    bars = lay_out_bars(table, way, n_sets)
    height = 1.4 + 0.22 * len(bars.names)

    def draw(figure: "Figure") -> None:
        axes = figure.add_axes((0.46, 0.9 / height, 0.5, 1 - 1.1 / height))
        axes.barh(range(len(bars.names)), bars.length, color=_colors(bars), height=0.75)
        axes.set_yticks(
            range(len(bars.names)), [_plain(name, len(name)) for name in shorten_apart(bars.names, 76)], fontsize=8
        )
        axes.invert_yaxis()
        axes.set(xlabel=bars.unit)
        axes.spines[["top", "right"]].set_visible(False)

    return _save(draw, (7.2, height), kind, caption)


def _sides() -> tuple[tuple[int, str, str], ...]:
    return ((0, "no clear difference", palette.OTHER), (1, "higher", HIGHER), (-1, "lower", LOWER))


def _colors(bars: Bars) -> list[str]:
    colors = np.where(bars.length >= 0, HIGHER, LOWER) if "score" in bars.unit else np.full(len(bars.names), LOWER)
    return [str(color) if clear else _GREY for color, clear in zip(colors, bars.is_clear, strict=True)]


def _save(draw: Callable, size: tuple[float, float], kind: str, caption: str) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, facecolor="white")
        draw(figure)
        figure.text(0.015, 0.015, _plain(caption, 220), color=_INK, fontsize=7, wrap=True)
        out = BytesIO()
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(
            out, format=kind, dpi=300, facecolor="white", bbox_inches="tight", pad_inches=0.1, metadata=metadata
        )
    return out.getvalue()


def _plain(text: str, length: int) -> str:
    """Text from a file, shown letter by letter: matplotlib reads formulas between dollar signs."""
    return shorten(text, length).replace("$", r"\$")
