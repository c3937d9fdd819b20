"""A network of genes: the interactive picture (ECharts, on a canvas) and the figure to keep (SVG, PNG, PDF).

Places are given and stay: nothing moves by itself, and clicking, filtering and redrawing find every gene where it was.
The picture names no colour of a theme, because a change between light and dark does not run the page: ECharts then
chooses ink and halo of its texts by itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import streamlit as st

from scfviz.ui.drawing import palette
from scfviz.ui.drawing.network_titles import FONT_PIXELS, GAP_PIXELS, LINE_PIXELS, Title, place_titles
from scfviz.ui.frame.text import hover, shorten

HEIGHT, WIDTH = 660, 500  # pixels; a wider chart shows the same larger, a narrower one smaller
POSITIVE, NEGATIVE, MARKED = "#7f8c8f", "#c2410c", "#e0218a"
_MANY = 400  # genes from which on they are drawn smaller, and without rims, which cost time and are not seen
_MARGIN, _TITLE = 20, 36  # pixels around the picture, and for a title above and below
_WIDE, _NARROW = 800, 480  # pixels of a chart from which on, and below which, it is drawn larger or smaller
_INK = "#16282c"
_NO_MODULE = "#aab4b6"


@dataclass(frozen=True)
class Node:
    """A gene in a network.

    Attributes
    ----------
    name
        Of the gene.
    x, y
        Its place.
    module
        0: none.
    size
        0 to 1.
    is_factor, is_marked
        Drawn as a diamond; drawn with a ring and its name.
    has_label
        Whether its name is written.
    """

    name: str
    x: float
    y: float
    module: int
    size: float
    is_factor: bool = False
    is_marked: bool = False
    has_label: bool = False


@dataclass(frozen=True)
class Edge:
    """A link between two genes: weight and certainty 0 to 1, sign, and whether it has a direction."""

    source: str
    target: str
    weight: float
    certainty: float
    sign: int = 1
    color: str | None = None


@dataclass(frozen=True)
class Disc:
    """The ground of a module: its number, name, middle and radius."""

    module: int
    name: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Network:
    """What is drawn.

    Attributes
    ----------
    nodes, edges, discs
        Genes, links and the grounds of modules.
    is_directed
        Whether edges have arrows.
    label
        Of the whole, for screen readers and figures.
    legend
        What colours of edges mean, by colour.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    discs: tuple[Disc, ...] = ()
    is_directed: bool = False
    label: str = ""
    legend: Mapping[str, str] = field(default_factory=dict)


def module_colors(n_modules: int) -> list[str]:
    """A colour of each module, the first that of genes in none."""
    colors = palette.category_colors(min(max(n_modules, 1), 60))
    return [_NO_MODULE, *(colors[i % len(colors)] for i in range(n_modules))]


def show_network(network: Network, *, key: str, height: int = HEIGHT) -> tuple[str, str | int] | None:
    """Draw a network; what is clicked: ("gene", name) or ("module", number).

    Parameters
    ----------
    key
        Of the picture in the session.
    height
        Pixels.
    """
    event = st.echarts_chart(describe(network, height), height=height, key=key, on_select="rerun", alt=network.label)
    return read_click(network, event)


def read_click(network: Network, event: Mapping[str, Any] | None) -> tuple[str, str | int] | None:
    """What a selection of the picture stands for."""
    selected = (event or {}).get("selection", {}).get("selected", ())
    for part in selected:
        indices = part.get("data_indices") or ()
        if part.get("data_type") == "node" and len(indices):
            i = int(indices[-1])
            if i < len(network.discs):
                return "module", network.discs[i].module
            if i - len(network.discs) < len(network.nodes):
                return "gene", network.nodes[i - len(network.discs)].name
    return None


def describe(network: Network, height: int) -> dict[str, Any]:
    """The picture as an ECharts option: the same places at every width of the chart, larger or smaller as a whole."""
    n_modules = max([node.module for node in network.nodes] + [disc.module for disc in network.discs] + [0])
    colors, frame = module_colors(n_modules), _frame(network, height)
    titles = place_titles(
        [disc.name for disc in network.discs],
        [disc.module for disc in network.discs],
        [frame.to_pixels(disc) for disc in network.discs],
        WIDTH,
    )
    data = [
        _describe_disc(disc, frame.scale, colors[disc.module], title)
        for disc, title in zip(network.discs, titles, strict=True)
    ]
    share = min(1.0, (_MANY / max(len(network.nodes), 1)) ** 0.5)
    data += [_describe_node(node, colors[node.module], share) for node in network.nodes]
    shades = edge_colors(network, colors)
    links = [_describe_edge(edge, color) for edge, color in zip(network.edges, shades, strict=True)]
    zooms = [{"option": {"series": [{"id": "network", "zoom": 1}]}}]
    for query, zoom in (
        ({"minWidth": _WIDE}, min(_WIDE / WIDTH, (height - 2 * _MARGIN) / frame.height)),
        ({"maxWidth": _NARROW}, 0.68),
    ):
        zooms.append({"query": query, "option": {"series": [{"id": "network", "zoom": round(zoom, 3)}]}})
    return {
        "animation": False,
        "aria": {"enabled": True},
        "tooltip": {"confine": True, "formatter": "{b}"},
        "media": zooms,
        "series": [
            {
                "type": "graph",
                "id": "network",
                "layout": "none",
                "left": "center",
                "top": "middle",
                "width": round(frame.scale * frame.size[0], 1),
                "height": round(frame.scale * frame.size[1], 1),
                "roam": True,
                "scaleLimit": {"min": 0.6, "max": 12},
                "nodeScaleRatio": 1,
                "selectedMode": "single",
                "select": {"itemStyle": {"borderWidth": 3}, "label": {"show": True}},
                "emphasis": {"focus": "adjacency", "label": {"show": True}, "lineStyle": {"opacity": 0.9}},
                "blur": {"itemStyle": {"opacity": 0.18}, "lineStyle": {"opacity": 0.03}, "label": {"opacity": 0.25}},
                "labelLayout": {"hideOverlap": True},
                "edgeSymbol": ["none", "arrow" if network.is_directed else "none"],
                "edgeSymbolSize": 6,
                "data": data,
                "links": links,
            }
        ],
    }


@dataclass(frozen=True)
class _Frame:
    """How places become pixels: ECharts lays the box around all middles into the middle of the chart."""

    middle: tuple[float, float]
    size: tuple[float, float]  # of that box, in units of places
    scale: float  # pixels per unit
    height: float  # pixels that all takes, titles included

    def to_pixels(self, disc: Disc) -> tuple[float, float, float]:
        return (
            (disc.x - self.middle[0]) * self.scale,
            (self.middle[1] - disc.y) * self.scale,
            disc.radius * self.scale,
        )


def _frame(network: Network, height: int) -> _Frame:
    points = np.array([(node.x, node.y, 0.0) for node in network.nodes] + [_ground(disc) for disc in network.discs])
    points = points if len(points) else np.zeros((1, 3))
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    size = np.where(high > low, high - low, 2.0)  # ECharts gives a box without width or height two units
    middle = (low + high) / 2
    reach = np.maximum((np.abs(points[:, :2] - middle) + points[:, 2:]).max(axis=0), size / 2)
    room = np.array([WIDTH, height - 2 * _TITLE]) / 2 - _MARGIN
    scale = float((room / reach).min())
    return _Frame(tuple(middle.tolist()), tuple(size.tolist()), scale, 2 * (scale * float(reach[1]) + _TITLE))


def _ground(disc: Disc) -> tuple[float, float, float]:
    return disc.x, disc.y, disc.radius


def _describe_disc(disc: Disc, scale: float, color: str, title: Title) -> dict[str, Any]:
    label = {
        "show": bool(title.text),
        "position": title.position,
        "distance": GAP_PIXELS,
        "formatter": title.text,
        "fontSize": FONT_PIXELS,
        "lineHeight": LINE_PIXELS,
        "fontWeight": "bold",
        "opacity": 1,
    }
    return {
        "id": f"module {disc.module}",
        "name": f"{disc.module}: {hover(disc.name)}",
        "x": disc.x,
        "y": -disc.y,
        "symbol": "circle",
        "symbolSize": round(2 * disc.radius * scale, 1),
        "itemStyle": {"color": color, "opacity": 0.12, "borderWidth": 0},
        "emphasis": {"disabled": True},  # either state would lift the ground over its genes, out of reach of the mouse
        "select": {"disabled": True},
        "label": label,
    }


def _describe_node(node: Node, color: str, share: float) -> dict[str, Any]:
    size = share * (5 + 11 * node.size + (3 if node.is_factor else 0))
    style: dict[str, Any] = {"color": color, "opacity": 0.95, "borderWidth": 0}
    if node.is_marked:
        style |= {"borderColor": MARKED, "borderWidth": 2.5}
    elif share == 1:
        style |= {"borderColor": _darken(color), "borderWidth": 0.8}
    label = {
        "show": node.has_label or node.is_marked,
        "position": "right",
        "distance": 3,
        "formatter": node.name,
        "fontSize": 12 if node.is_marked else 10 + round(2 * node.size),
        "fontWeight": "bold" if node.is_marked or node.is_factor else "normal",
    }
    return {
        "id": node.name,
        "name": hover(node.name),
        "x": node.x,
        "y": -node.y,
        "symbol": "diamond" if node.is_factor else "circle",
        "symbolSize": round(size, 1),
        "itemStyle": style,
        "label": label,
    }


def _darken(color: str) -> str:
    return "#" + "".join(f"{int(color[i : i + 2], 16) * 5 // 8:02x}" for i in (1, 3, 5))


def edge_colors(network: Network, colors: Sequence[str]) -> list[str]:
    """Of each edge: its own, that of negative ones, its module's within one, grey between two."""
    module = {node.name: node.module for node in network.nodes}
    found = []
    for edge in network.edges:
        ends = module.get(edge.source, 0), module.get(edge.target, 0)
        own = colors[ends[0]] if ends[0] == ends[1] else POSITIVE
        found.append(edge.color or (own if edge.sign > 0 else NEGATIVE))
    return found


def _describe_edge(edge: Edge, color: str) -> dict[str, Any]:
    return {
        "source": edge.source,
        "target": edge.target,
        "lineStyle": {
            "color": color,
            "opacity": round(_opacity(edge), 3),
            "width": round(0.5 + 1.5 * edge.weight, 2),
            "type": "solid" if edge.sign > 0 else "dashed",
            "curveness": 0.12,
        },
    }


def draw_figure(network: Network, kind: str, *, caption: str = "") -> bytes:
    """The same on white, as a file.

    Parameters
    ----------
    kind
        `svg`, `pdf` or `png`.
    caption
        A sentence below.
    """
    import matplotlib
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    style = {"svg.fonttype": "none", "pdf.fonttype": 42, "font.sans-serif": ["DejaVu Sans", "sans-serif"]}
    with matplotlib.rc_context(style | {"font.size": 8}):
        figure = Figure(figsize=(9, 9.4), facecolor="white")
        axes = figure.add_axes((0.01, 0.05, 0.98, 0.94))
        n_modules = max([node.module for node in network.nodes] + [disc.module for disc in network.discs] + [0])
        colors, place = module_colors(n_modules), {node.name: (node.x, node.y) for node in network.nodes}
        for disc in network.discs:
            axes.add_patch(Circle((disc.x, disc.y), disc.radius, color=colors[disc.module], alpha=0.1, linewidth=0))
            top = disc.y + disc.radius
            _write(axes, disc.x, top, shorten(disc.name, 34), colors[disc.module], size=9, weight="bold", va="bottom")
        lines = [(place[edge.source], place[edge.target]) for edge in network.edges]
        shades = edge_colors(network, colors)
        shades = [to_rgba(color, _opacity(edge)) for color, edge in zip(shades, network.edges, strict=True)]
        widths = [0.3 + 0.8 * edge.weight for edge in network.edges]
        axes.add_collection(LineCollection(lines, colors=shades, linewidths=widths, zorder=1))
        for marker, factors in (("o", False), ("D", True)):
            nodes = [node for node in network.nodes if node.is_factor is factors]
            if nodes:
                axes.scatter(
                    [node.x for node in nodes],
                    [node.y for node in nodes],
                    s=[12 + 60 * node.size for node in nodes],
                    c=[colors[node.module] for node in nodes],
                    marker=marker,
                    edgecolors=[MARKED if node.is_marked else "white" for node in nodes],
                    linewidths=[1.4 if node.is_marked else 0.4 for node in nodes],
                    zorder=2,
                )
        for node in network.nodes:
            if node.has_label or node.is_marked:
                weight = "bold" if node.is_factor or node.is_marked else "normal"
                _write(axes, node.x, node.y, f"  {node.name}", _INK, size=7, weight=weight, ha="left")
        axes.autoscale_view()
        axes.set_aspect("equal")
        axes.axis("off")
        figure.text(0.02, 0.015, shorten(caption.replace("$", "").replace("\n", " "), 170), color=_INK, fontsize=7)
        out = BytesIO()
        figure.savefig(out, format=kind, dpi=300, facecolor="white", metadata={"Date": None} if kind == "svg" else None)
    return out.getvalue()


def _opacity(edge: Edge) -> float:
    return 0.06 + 0.44 * edge.certainty


def _write(axes: Any, x: float, y: float, text: str, color: str, *, size: float, weight: str, **where: str) -> None:
    from matplotlib.patheffects import withStroke

    axes.text(
        x,
        y,
        text.replace("$", ""),
        color=color,
        fontsize=size,
        fontweight=weight,
        path_effects=[withStroke(linewidth=2, foreground="white")],
        **{"ha": "center", "va": "center"} | where,
    )


def scale_sizes(values: Sequence[float]) -> np.ndarray:
    """Numbers as sizes, 0 to 1, by their square root."""
    values = np.sqrt(np.maximum(np.asarray(values, dtype=float), 0))
    return values / values.max() if len(values) and values.max() > 0 else values
