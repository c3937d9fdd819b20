"""A network of genes: the interactive picture (ECharts, on a canvas) and the figure to keep (SVG, PNG, PDF).

Places are given and stay: nothing moves by itself, and clicking, filtering and redrawing find every gene where it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
import streamlit as st

from scfviz.ui.drawing import palette
from scfviz.ui.frame.text import hover, shorten

HEIGHT = 660
POSITIVE, NEGATIVE = "#7f8c8f", "#c2410c"
_FILLED = 0.8  # ECharts gives a graph this share of the chart
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
    spec = describe(network, height, dark=st.context.theme.type == "dark")
    event = st.echarts_chart(spec, height=height, key=key, on_select="rerun", alt=network.label)
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


def describe(network: Network, height: int, *, dark: bool) -> dict[str, Any]:
    """The picture as an ECharts option."""
    n_modules = max([node.module for node in network.nodes] + [disc.module for disc in network.discs] + [0])
    colors, ink = module_colors(n_modules), "#e8eeee" if dark else _INK
    low, high = _box(network)
    scale = _FILLED * height / max(high[1] - low[1], 1e-9)
    data = [_describe_disc(disc, scale, colors[disc.module]) for disc in network.discs]
    data += [_describe_node(node, colors[node.module], ink, dark) for node in network.nodes]
    shades = edge_colors(network, colors)
    links = [_describe_edge(edge, color) for edge, color in zip(network.edges, shades, strict=True)]
    return {
        "animation": False,
        "aria": {"enabled": True},
        "tooltip": {"confine": True, "formatter": "{b}"},
        "series": [
            {
                "type": "graph",
                "id": "network",
                "layout": "none",
                "roam": True,
                "scaleLimit": {"min": 0.6, "max": 12},
                "nodeScaleRatio": 1,
                "selectedMode": "single",
                "select": {"itemStyle": {"borderColor": ink, "borderWidth": 3}, "label": {"show": True}},
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


def _box(network: Network) -> tuple[tuple[float, float], tuple[float, float]]:
    points = [(node.x, node.y) for node in network.nodes] + [(disc.x, disc.y) for disc in network.discs]
    if not points:
        return (0.0, 0.0), (1.0, 1.0)
    xs, ys = zip(*points, strict=True)
    return (min(xs), min(ys)), (max(xs), max(ys))


def _describe_disc(disc: Disc, scale: float, color: str) -> dict[str, Any]:
    title = {
        "show": True,
        "position": "top",
        "distance": 2,
        "formatter": shorten(disc.name, 34),
        "color": color,
        "fontSize": 13,
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
        "itemStyle": {"color": color, "opacity": 0.1, "borderColor": color, "borderWidth": 0},
        "emphasis": {"itemStyle": {"opacity": 0.2}, "label": {"show": True}},
        "select": {"itemStyle": {"opacity": 0.22, "borderWidth": 1.5}},
        "label": title,
    }


def _describe_node(node: Node, color: str, ink: str, dark: bool) -> dict[str, Any]:
    size = 5 + 11 * node.size + (3 if node.is_factor else 0)
    style: dict[str, Any] = {"color": color, "opacity": 0.95, "borderColor": "#1a2022" if dark else "#ffffff"}
    style["borderWidth"] = 0.8
    if node.is_marked:
        style |= {"borderColor": ink, "borderWidth": 2.5}
    label = {
        "show": node.has_label or node.is_marked,
        "position": "right",
        "distance": 3,
        "formatter": node.name,
        "color": ink,
        "fontSize": 12 if node.is_marked else 10 + round(2 * node.size),
        "fontWeight": "bold" if node.is_marked or node.is_factor else "normal",
        "textBorderColor": "#0e1416" if dark else "#ffffff",
        "textBorderWidth": 2,
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
                    edgecolors=[_INK if node.is_marked else "white" for node in nodes],
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
