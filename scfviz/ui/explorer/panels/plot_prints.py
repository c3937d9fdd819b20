"""The panels' pictures for print, on white, with a caption: SVG with text that can be edited, or PNG."""

import textwrap
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from scfviz.analysis.groups import Composition, GroupSummary, Violin
from scfviz.analysis.selection.crossfilter import Bins
from scfviz.ui.explorer.panels import plot_figures
from scfviz.ui.frame.text import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

MIME = {"svg": "image/svg+xml", "png": "image/png"}
_INK, _FAINT = "#16282c", "#c9d2d2"
_CELL = 0.27  # inches of a row or column
_DOT = 0.21  # inches of a dot that stands for all cells
_BAR, _SELECTED = "#cfd6d7", "#0f6b75"
_STYLE = {
    "svg.fonttype": "none",
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],
    "font.size": 8,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.linewidth": 0.6,
}


def print_grid(
    summary: GroupSummary,
    values: np.ndarray,
    names: Sequence[str],
    title: str,
    kind: str,
    *,
    diverging: bool,
    dots: bool,
    caption: str,
) -> bytes:
    """A dot plot, or a heatmap; the parameters are those of `plot_figures.draw_dots`, `kind` is "svg" or "png"."""
    n_groups, n_genes = values.shape
    low, high = plot_figures.color_range(values, diverging=diverging)

    def draw(figure: "Figure") -> None:
        from matplotlib.colors import LinearSegmentedColormap

        colors = LinearSegmentedColormap.from_list("scale", plot_figures.color_scale(diverging=diverging, dark=False))
        axes = _axes(figure, _CELL * n_genes, _CELL * n_groups, left=_label_width(names), top=0.15)
        if dots:
            x, y = np.meshgrid(np.arange(n_genes), np.arange(n_groups))
            area = (72 * _DOT) ** 2 * summary.fraction
            drawn = axes.scatter(
                x, y, s=area, c=values, cmap=colors, vmin=low, vmax=high, edgecolors=_FAINT, linewidths=0.4
            )
        else:
            drawn = axes.pcolormesh(
                np.arange(n_genes + 1) - 0.5,
                np.arange(n_groups + 1) - 0.5,
                values,
                cmap=colors,
                vmin=low,
                vmax=high,
                edgecolors="white",
                linewidth=0.5,
            )
        axes.set(xlim=(-0.5, n_genes - 0.5), ylim=(n_groups - 0.5, -0.5))
        axes.set_xticks(range(n_genes), [_plain(gene) for gene in summary.genes], rotation=90, style="italic")
        axes.set_yticks(range(n_groups), [_plain(name) for name in names])
        _draw_scales(figure, axes, drawn, title, dots)

    size = (_label_width(names) + _CELL * n_genes + 2.2, max(1.8, _CELL * n_groups + 1.1))
    return _save(draw, size, kind, caption)


def _draw_scales(figure: "Figure", axes: "Axes", drawn: "ScalarMappable", title: str, dots: bool) -> None:
    box, (width, height) = axes.get_position(), figure.get_size_inches()
    left = box.x1 + 0.3 / width
    bar = figure.add_axes((left, box.y1 - 0.45 / height, 1.2 / width, 0.1 / height))
    figure.colorbar(drawn, cax=bar, orientation="horizontal").outline.set_visible(False)
    bar.set_title("\n".join(textwrap.wrap(title, 26)), fontsize=7, loc="left")
    if dots:
        sizes = figure.add_axes((left, box.y1 - 1.35 / height, 1.4 / width, 0.45 / height))
        n = len(plot_figures.SIZES)
        sizes.scatter(range(n), [0] * n, s=[(72 * _DOT) ** 2 * share for share in plot_figures.SIZES], color="#8f999b")
        sizes.set(xlim=(-0.6, n - 0.4), ylim=(-1, 1))
        sizes.set_xticks(range(n), [f"{100 * share:.0f}" for share in plot_figures.SIZES], fontsize=7)
        sizes.tick_params(length=0)
        sizes.set_yticks([])
        sizes.set_title("cells that express it, %", fontsize=7, loc="left")
        for side in sizes.spines.values():
            side.set_visible(False)


def print_violins(
    violins: Sequence[Violin], names: Sequence[str], colors: Sequence[str], kind: str, *, caption: str
) -> bytes:
    """Violins in rows of genes; the parameters are those of `plot_figures.draw_violins`."""
    n_groups = len(names)
    genes, tops = [v.variable for v in violins[::n_groups]], plot_figures.row_tops(violins, n_groups)
    row = float(np.clip(6 / len(genes), 0.45, 1.6))
    left = _label_width(genes) + 0.35

    def draw(figure: "Figure") -> None:
        axes = _axes(figure, max(1.2, 0.5 * n_groups), row * len(genes), left=left, top=0.15)
        for group, color in enumerate(colors):
            for i, (violin, top) in enumerate(zip(violins[group::n_groups], tops, strict=True)):
                x, y = plot_figures.violin_outline(violin, group, -i, top, 96)
                axes.fill(x[:-1], y[:-1], facecolor=color, edgecolor=color, linewidth=0.6)
                low, middle, high = -i + 0.86 * violin.quantiles[1:4] / top
                axes.plot([group, group], [low, high], color=_INK, linewidth=1.2, solid_capstyle="butt")
                axes.plot(group, middle, "o", color="white", markeredgecolor=_INK, markeredgewidth=0.7, markersize=3)
        for i, top in enumerate(tops):
            axes.axhline(-i, color=_FAINT, linewidth=0.5, zorder=0)
            for at, text in ((0, "0"), (0.86, f"{top:.2g}")):
                axes.annotate(
                    text,
                    (0, -i + at),
                    (-3, 0),
                    ("axes fraction", "data"),
                    textcoords="offset points",
                    ha="right",
                    va="center",
                    fontsize=6,
                )
        axes.set(xlim=(-0.6, n_groups - 0.4), ylim=(-len(genes) + 0.95, 0.95))
        axes.set_yticks([0.43 - i for i in range(len(genes))], [_plain(gene) for gene in genes], style="italic")
        axes.tick_params(axis="y", pad=20, length=0)
        axes.set_xticks(range(n_groups), [_plain(name) for name in names], rotation=45, ha="right")

    size = (left + max(1.2, 0.5 * n_groups) + 0.3, row * len(genes) + 0.3 + 0.72 * _label_width(names))
    return _save(draw, size, kind, caption)


def print_composition(
    found: Composition, names: Sequence[str], colors: Sequence[str], kind: str, *, shares: bool, what: str, caption: str
) -> bytes:
    """Stacked bars; the parameters are those of `plot_figures.draw_composition`."""
    lengths = 100 * found.fractions if shares else found.counts
    height = max(0.24 * len(found.rows), 0.16 * len(found.parts) + 0.3)

    def draw(figure: "Figure") -> None:
        axes = _axes(figure, 4.2, height, left=_label_width(names), top=0.15)
        start = np.zeros(len(found.rows))
        for part, color in enumerate(colors):
            axes.barh(
                range(len(found.rows)),
                lengths[:, part],
                left=start,
                color=color,
                edgecolor="white",
                linewidth=0.4,
                height=0.82,
                label=_plain(found.parts[part], 32),
            )
            start += lengths[:, part]
        axes.set(ylim=(len(found.rows) - 0.5, -0.5), xlim=(0, 100) if shares else None)
        axes.set_yticks(range(len(found.rows)), [_plain(name) for name in names])
        axes.set_xlabel("share of the cells of each row, %" if shares else "cells")
        axes.legend(
            title=_plain(what),
            loc="upper left",
            bbox_to_anchor=(1.01, 1.02),
            frameon=False,
            fontsize=7,
            alignment="left",
            title_fontproperties={"weight": "bold", "size": 8},
        )

    return _save(draw, (_label_width(names) + 4.2 + 2.4, height + 0.7), kind, caption)


def print_bars(
    charts: Sequence[tuple[str, str, Bins]], selected: np.ndarray | None, kind: str, *, caption: str
) -> bytes:
    """Histograms of (title, unit, bins), three in a row: grey are all cells, coloured the selected ones."""
    n_rows = -(-len(charts) // 3)
    n_columns = min(3, len(charts))

    def draw(figure: "Figure") -> None:
        for place, (title, unit, bins) in enumerate(charts):
            row, column = divmod(place, 3)
            axes = figure.add_axes(_box(figure, 3.1 * column + (1.3 if bins.labels else 0.55), 2.3 * row + 0.35,
                                        1.5 if bins.labels else 2.25, 1.45))  # fmt: skip
            axes.set_title(_plain(title, 34), loc="left", fontweight="bold", fontsize=8)
            layers = [(bins.count(), _BAR)] + ([] if selected is None else [(bins.count(selected), _SELECTED)])
            for counts, color in layers:
                if bins.labels:
                    axes.barh(range(bins.n_bars), counts, color=color, height=0.85)
                else:
                    axes.bar(bins.edges[:-1], counts, np.diff(bins.edges), align="edge", color=color)
            if bins.labels:
                axes.set_yticks(
                    range(bins.n_bars),
                    [_plain(name, 22) for name in bins.labels],
                    fontsize=float(np.clip(90 / bins.n_bars, 2, 7)),
                )
                axes.set_ylim(bins.n_bars - 0.4, -0.6)
                axes.set_xlabel("cells")
            else:
                axes.set_xlabel(_plain(unit))
                axes.set_ylabel("cells")
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)

    return _save(draw, (3.1 * n_columns + 0.2, 2.3 * n_rows + 0.2), kind, caption)


def _axes(figure: "Figure", width: float, height: float, *, left: float, top: float) -> "Axes":
    """Axes of a size in inches, at a distance from the upper left corner."""
    axes = figure.add_axes(_box(figure, left, top, width, height))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes


def _box(figure: "Figure", left: float, top: float, width: float, height: float) -> tuple[float, float, float, float]:
    total_width, total_height = figure.get_size_inches()
    return left / total_width, 1 - (top + height) / total_height, width / total_width, height / total_height


def _label_width(names: Sequence[str]) -> float:
    return 0.2 + 0.068 * max(len(shorten(name, 44)) for name in names)


def _save(draw: Callable, size: tuple[float, float], kind: str, caption: str) -> bytes:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        width, height = max(size[0], 4.0), size[1]
        lines = textwrap.wrap(caption.replace("\n", " "), int(width * 15))
        figure = Figure(figsize=(width, height + 0.15 * len(lines)), facecolor="white")
        draw(figure)
        figure.text(0.1 / width, 0.008, _plain("\n".join(lines), 0), fontsize=7, va="bottom")
        out = BytesIO()
        figure.savefig(
            out,
            format=kind,
            dpi=300,
            facecolor="white",
            bbox_inches="tight",
            pad_inches=0.1,
            metadata={"Date": None} if kind == "svg" else None,
        )
    return out.getvalue()


def _plain(text: str, length: int = 44) -> str:
    """Text from a file, shown letter by letter: matplotlib reads formulas between dollar signs."""
    return (shorten(text, length) if length else text).replace("$", r"\$")
