"""Figures to keep: the cells as one picture, everything else as lines and text."""

from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from scfviz.ui.drawing import map_layout, quantise, raster
from scfviz.ui.drawing.coloring import Labels, Values
from scfviz.ui.drawing.quantise import Coloring
from scfviz.ui.frame.text import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIDE, _LEGEND, _DPI = 4.4, 2.6, 300  # inches, inches, dots per inch
_INK = "#16282c"
_ROWS = 34  # of the legend in a column
_FONT = ["DejaVu Sans", "sans-serif"]


def draw_maps(
    maps: Mapping[str, np.ndarray],
    coloring: Coloring,
    kind: str,
    *,
    selected: np.ndarray | None = None,
    hidden: tuple[int, ...] = (),
    caption: str = "",
) -> bytes:
    """Maps side by side, on white.

    Parameters
    ----------
    maps
        By title: float (n_cells, 2).
    kind
        `svg`, `pdf` or `png`.
    selected
        bool (n_cells,); others are faint. `None` draws all alike.
    hidden
        Codes that are left out.
    caption
        A sentence below.

    Returns
    -------
    bytes
        The file. Text in SVG and PDF stays text.
    """
    import matplotlib
    from matplotlib.figure import Figure

    codes = quantise.encode(coloring)
    cells = raster.Cells(codes, quantise.color_table(coloring), isinstance(coloring, Values), selected, tuple(hidden))
    with matplotlib.rc_context({"svg.fonttype": "none", "pdf.fonttype": 42, "font.sans-serif": _FONT, "font.size": 9}):
        figure = Figure(figsize=(_SIDE * len(maps) + _LEGEND, _SIDE + 0.8), facecolor="white")
        widths = [*[_SIDE] * len(maps), _LEGEND]
        grid = figure.add_gridspec(1, len(widths), width_ratios=widths, left=0.01, right=0.99, top=0.93, bottom=0.09)
        for number, (title, xy) in enumerate(maps.items()):
            _draw_map(figure.add_subplot(grid[number]), title, xy, cells, coloring)
        _draw_legend(figure.add_subplot(grid[len(maps)]), coloring, cells)
        shown = int(np.isin(codes, hidden, invert=True).sum())
        if shown < len(codes):
            caption = f"{caption}; {shown:,} of {len(codes):,} cells shown"
        if selected is not None:
            caption = f"{caption}; {int((selected & ~np.isin(codes, hidden)).sum()):,} cells selected"
        figure.text(0.015, 0.02, _plain(caption, 180), color=_INK, fontsize=8)
        out = BytesIO()
        figure.savefig(
            out, format=kind, dpi=_DPI, facecolor="white", metadata={"Date": None} if kind == "svg" else None
        )
    return out.getvalue()


def _draw_map(axes: "Axes", title: str, xy: np.ndarray, cells: raster.Cells, coloring: Coloring) -> None:
    pixels = int(_SIDE * _DPI)
    box = raster.widen(raster.fit_box(xy), pixels, pixels)
    points = _SIDE * 72  # the size of a cell is chosen for the printed size, then drawn with all its dots
    size, opacity = raster.point_look(len(xy), points, points)
    picture = raster.draw_cells(
        xy,
        cells,
        box=box,
        width=pixels,
        height=pixels,
        size=size * pixels / points,
        opacity=opacity,
        supersampling=1,
    )
    x0, y0, x1, y1 = box
    axes.imshow(picture, extent=(x0, x1, y0, y1), interpolation="none", aspect="equal")
    axes.set(xlim=(x0, x1), ylim=(y0, y1), xticks=[], yticks=[])
    axes.set_title(_plain(title, 50), loc="left", color=_INK, fontweight="bold", fontsize=10)
    for side in axes.spines.values():
        side.set(color="#c9d2d2", linewidth=0.6)
    if isinstance(coloring, Labels):
        n_groups = coloring.n_own or len(coloring.names)
        places = []
        if n_groups <= map_layout.MAX_LABELS:
            places = map_layout.find_places(xy, cells.codes, n_groups, raster.fit_box(xy))
        sizes = np.bincount(cells.codes, minlength=len(places))
        shown = [code for code in np.argsort(-sizes, kind="stable") if code < len(places) and code not in cells.hidden]
        _write_labels(axes, [(coloring.names[code], places[code]) for code in shown if places[code] is not None])


def _write_labels(axes: "Axes", labels: list[tuple[str, tuple[float, float]]]) -> None:
    """Names of groups inside the map and beside each other; the first go first, and what finds no room is left out."""
    from matplotlib.patheffects import withStroke

    axes.apply_aspect()
    effects, taken = [withStroke(linewidth=2, foreground="white")], []
    frame, to_map = axes.get_window_extent(), axes.transData.inverted()
    for name, place in labels:
        text = axes.text(
            *place, _plain(name, 28), ha="center", va="center", fontsize=7, color=_INK, path_effects=effects
        )
        box = text.get_window_extent()
        right = np.clip(0.0, frame.x0 + 2 - box.x0, max(frame.x1 - 2 - box.x1, frame.x0 + 2 - box.x0))
        for steps in (0, -1.2, 1.2):
            moved = box.translated(right, steps * box.height)
            fits = frame.y0 < moved.y0 and moved.y1 < frame.y1
            if fits and not any(moved.overlaps(other) for other in taken):
                taken.append(moved)
                text.set_position(to_map.transform(((moved.x0 + moved.x1) / 2, (moved.y0 + moved.y1) / 2)))
                break
        else:
            text.remove()


def _draw_legend(axes: "Axes", coloring: Coloring, cells: raster.Cells) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")
    axes.text(0, 1, _plain(coloring.title, 40), fontweight="bold", va="top", color=_INK)
    colors = cells.colors / 255
    if isinstance(coloring, Values):
        from scfviz.ui.frame.text import short_number

        axes.text(0, 0.95, _plain(coloring.unit, 40), va="top", color=_INK, fontsize=8)
        axes.imshow(colors[None, :-1], extent=(0, 0.85, 0.86, 0.895), aspect="auto")
        below, above, text = quantise.clip_text(coloring)
        ends = ((0, coloring.low, "≤ " * below, "left"), (0.85, coloring.high, "≥ " * above, "right"))
        for at, value, sign, side in ends:
            axes.text(
                at, 0.845, sign + (short_number(value) if abs(value) >= 1000 else f"{value:.3g}"), ha=side, va="top"
            )
        axes.set(xlim=(0, 1), ylim=(0, 1))
        unknown = int((cells.codes == len(colors) - 1).sum())
        notes = [text] if text else []
        notes += [f"No value: {unknown:,} cell{'s' * (unknown != 1)} (grey)."] if unknown else []
        axes.text(0, 0.78, "\n".join(notes), va="top", fontsize=7, color=_INK, wrap=True)
        return
    if isinstance(coloring, Labels):
        counts = np.bincount(cells.codes, minlength=len(coloring.names))
        many = int((counts > 0).sum())
        rows = [
            (colors[code], f"{_plain(name, 26 if many <= _ROWS else 20)} ({counts[code]:,})")
            for code, name in enumerate(coloring.names)
            if counts[code] and code not in cells.hidden
        ]
    else:
        pairs = zip(quantise.BLEND_COLORS, coloring.names, coloring.highs, strict=False)
        rows = [(color, f"{_plain(name, 20)}, up to {high:.3g}") for color, name, high in pairs]
        together = quantise.blend_legend(coloring)[len(coloring.names) :]
        rows += [(color, _plain(names, 30)) for names, color in together]
    columns = -(-len(rows) // _ROWS) or 1
    n_rows = -(-len(rows) // columns)
    step = min(0.052, 0.92 / max(1, n_rows))
    size = (8 if step > 0.04 else 6.5) if columns == 1 else 5
    for number, (color, text) in enumerate(rows):
        x, y = number // n_rows / columns, 0.93 - number % n_rows * step
        axes.plot(x + 0.03, y, "o", color=color, markersize=5 if columns == 1 else 3)
        axes.text(x + 0.08 / columns**0.5, y, text, va="center", color=_INK, fontsize=size)


def _plain(text: str, length: int) -> str:
    """Text from a file, shown letter by letter: matplotlib reads formulas between dollar signs."""
    return shorten(text, length).replace("$", r"\$")
