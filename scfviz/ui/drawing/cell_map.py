"""The map of cells: one to four linked maps drawn by the browser, with a lasso whose polygon is resolved here.

Positions and colours travel as bytes through invisible channels, once for each content; the visible component
gets a small description. A page first reads what the visitor did, changes its selection, then draws:

    event = read_event("map")
    if event is not None:
        rule = combine(event.operation, rule, event.rule(column="cell_type", names=coloring.names))
    mask = None if rule is None else evaluate(rule, context)
    cell_map({"UMAP": positions}, coloring, key="map", selected=mask)
"""

import hashlib
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import streamlit as st

from scfviz.analysis.selection.rules import Categories, Polygon, Rectangle, Rule
from scfviz.ui.drawing import map_layout, palette, quantise, raster
from scfviz.ui.drawing.coloring import Labels, Values
from scfviz.ui.drawing.quantise import Coloring

MAX_MAPS = 4
MAX_NAME_BYTES = 1_000_000
MAX_TEXT = 100  # letters of a group's new name
_MAX_PICTURE = 2_400  # pixels of a side, whatever a browser asks for

_messages: dict[int, tuple[weakref.ref, str, bytes]] = {}


@dataclass(frozen=True)
class MapEvent:
    """What a visitor did on a map.

    Attributes
    ----------
    kind
        `lasso`, `rectangle`, `category` (a legend entry was selected), `rename` (it got another name), `cell` (a cell
        was clicked) or `clear`.
    map
        Name of the map; empty for the legend.
    operation
        `replace`, `add`, `subtract` or `intersect`.
    polygon
        Vertices in the map's own coordinates.
    code
        Position of the legend entry among the names of the colouring, or of the cell among the cells.
    text
        The new name.
    """

    kind: str
    map: str = ""
    operation: str = "replace"
    polygon: tuple[tuple[float, float], ...] = ()
    code: int = -1
    text: str = ""

    def rule(self, *, column: str | None = None, names: Sequence[str] = ()) -> Rule | None:
        """The selection that was asked for; `None` for what selects nothing, and for a legend without a column."""
        if self.kind == "lasso":
            return Polygon(self.map, self.polygon)
        if self.kind == "rectangle":
            xs, ys = zip(*self.polygon, strict=True)
            return Rectangle(self.map, (min(xs), max(xs)), (min(ys), max(ys)))
        if self.kind == "category" and column is not None and 0 <= self.code < len(names):
            return Categories(column, (names[self.code],))
        return None


def read_event(key: str) -> MapEvent | None:
    """What the visitor did since the last call. Call it before `cell_map`, so that the answer is drawn at once."""
    sent = (st.session_state.get(key) or {}).get("event")
    if not isinstance(sent, Mapping) or sent.get("id") == st.session_state.get(f"{key}.handled"):
        return None
    st.session_state[f"{key}.handled"] = sent.get("id")
    return _check_event(sent)


def hidden_codes(key: str, coloring: Coloring) -> tuple[int, ...]:
    """Legend entries that the visitor switched off."""
    channel, _ = _message(quantise.encode(coloring).tobytes())
    return _hidden_codes(key, _content_id(channel, coloring))


def cell_map(
    maps: Mapping[str, np.ndarray],
    coloring: Coloring,
    *,
    key: str,
    selected: np.ndarray | None = None,
    outlines: Mapping[str, Sequence[Sequence[tuple[float, float]]]] | None = None,
    names: Sequence[str] | None = None,
    titles: Mapping[str, str] | None = None,
    height: int = 520,
    filename: str = "cells",
    caption: str = "",
    renamable: bool = False,
    shortcuts: Sequence[tuple[str, str]] = (),
) -> None:
    """Draw linked maps of the same cells: one colouring, one selection, one hovered cell.

    Parameters
    ----------
    maps
        By name, one to four: float (n_cells, 2). The arrays must not change afterwards; they are sent once.
    coloring
        `coloring.color_by_labels`, `coloring.color_by_values` or `quantise.blend`.
    key
        Name of the maps in the session; `read_event` answers under it.
    selected
        bool (n_cells,); the others turn faint but stay visible. `None` selects nothing.
    outlines
        By name of a map: polygons to show, in its coordinates.
    names
        Names of the cells for the hover box; sent only below a megabyte, else a click asks for one.
    titles
        What the maps are called on the screen, by their names.
    height
        Pixels of a map.
    filename, caption
        Of the picture that the visitor saves.
    renamable
        Whether the legend offers other names for a column's own groups; `read_event` then says which.
    shortcuts
        Keys of the page and what they do, for the list that `?` opens.
    """
    points = {name: _as_positions(array) for name, array in list(maps.items())[:MAX_MAPS]}
    sent = st.session_state.get(key) or {}
    screen = sent.get("screen")
    is_raster = isinstance(screen, Mapping) and screen.get("renderer") == "raster"
    codes = quantise.encode(coloring)
    colors_channel, colors_message = _message(codes.tobytes())
    content_id = _content_id(colors_channel, coloring)
    spec = _describe(coloring, codes, selected, content_id) | {
        "n": len(codes),
        "height": height,
        "renderer": "raster" if is_raster else "webgl",
        "filename": filename,
        "caption": caption or f"{len(codes):,} cells, coloured by {coloring.title}",
        "description": describe_in_words(coloring, codes, selected),
        "hidden": list(_hidden_codes(key, content_id)),
        "names": None,
        "shortcuts": [list(pair) for pair in shortcuts],
    }
    if renamable and isinstance(coloring, Labels):
        spec["colors"]["n_renamable"] = coloring.n_own
    with st.container(gap=None, key=f"{key}-channels"):
        if not is_raster:
            spec["colors"]["channel"] = colors_channel
            _component()(key=f"{key}.colors", data=colors_message, height=1)
        if selected is not None:
            bits = b"" if is_raster else np.packbits(selected, bitorder="little").tobytes()
            channel = None if is_raster else _send(bits, f"{key}.selection")
            spec["selection"] = {"channel": channel, "n": int(selected.sum())}
        colors = quantise.color_table(coloring, dark=is_raster and bool(screen.get("dark")))
        drawn = raster.Cells(codes, colors, isinstance(coloring, Values), selected, tuple(spec["hidden"]))
        spec["maps"] = []
        for number, (name, xy) in enumerate(points.items()):
            entry = _describe_map(xy, coloring, codes, selected, colors_channel)
            entry |= {"name": name, "title": (titles or {}).get(name, name), "outlines": (outlines or {}).get(name, ())}
            if is_raster:
                entry["image"] = _send_picture(name, xy, drawn, screen, f"{key}.image{number}")
                entry["positions"] = _position_message(xy)[0]
            else:
                entry["positions"] = _send_positions(xy, f"{key}.positions{number}")
            spec["maps"].append(entry)
        if names is not None and not is_raster:
            text = "\n".join(map(str, names)).encode() if len(names) * 4 < MAX_NAME_BYTES else b""
            if 0 < len(text) <= MAX_NAME_BYTES:
                spec["names"] = _send(text, f"{key}.names")
        _component()(
            key=key,
            data=spec,
            on_event_change=_nothing,
            on_hidden_change=_nothing,
            on_screen_change=_nothing,
        )


def describe_in_words(coloring: Coloring, codes: np.ndarray, selected: np.ndarray | None) -> str:
    """The map as a sentence, for those who cannot see it."""
    parts = [f"Map of {len(codes):,} cells, coloured by {coloring.title}"]
    if isinstance(coloring, Labels):
        counts = np.bincount(codes, minlength=len(coloring.names))
        largest = np.argsort(-counts, kind="stable")[:8]
        listed = ", ".join(f"{coloring.names[i]} {counts[i]:,}" for i in largest if counts[i])
        more = int((counts > 0).sum()) - len(largest)
        parts.append(f"groups: {listed}" + (f" and {more} more" if more > 0 else ""))
    elif isinstance(coloring, Values):
        parts.append(f"values from {coloring.low:.3g} to {coloring.high:.3g} {coloring.unit}".rstrip())
    if selected is not None:
        parts.append(f"{int(selected.sum()):,} cells selected")
    return "; ".join(parts) + "."


def _describe(coloring: Coloring, codes: np.ndarray, selected: np.ndarray | None, content_id: str) -> dict[str, Any]:
    total = quantise.n_codes(coloring)
    colors: dict[str, Any] = {
        "id": content_id,
        "bytes": codes.itemsize,
        "title": coloring.title,
        "unit": getattr(coloring, "unit", ""),
        "n_codes": total,
        "unknown": quantise.UNKNOWN,
    }
    if isinstance(coloring, Labels):
        colors |= {
            "kind": "labels",
            "palette": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in quantise.color_table(coloring)[:-1]],
            "names": list(coloring.names),
            "n_own": coloring.n_own,
            "counts": np.bincount(codes, minlength=total).tolist(),
            "selected": None if selected is None else np.bincount(codes[selected], minlength=total).tolist(),
        }
    elif isinstance(coloring, Values):
        below, above, text = quantise.clip_text(coloring)
        colors |= {
            "kind": "values",
            "stops_light": list(palette.RAMPS[coloring.ramp].on_light),
            "stops_dark": list(palette.RAMPS[coloring.ramp].on_dark),
            "low": coloring.low,
            "high": coloring.high,
            "clipped_low": below,
            "clipped_high": above,
            "clip_text": text,
            "n_unknown": int(np.isnan(coloring.values).sum()),
        }
    else:
        colors |= {
            "kind": "blend",
            "palette": quantise.blend_palette(len(coloring.names)),
            "levels": quantise.BLEND_LEVELS,
            "genes": [
                {"name": name, "color": color, "high": high}
                for name, color, high in zip(coloring.names, quantise.BLEND_COLORS, coloring.highs, strict=False)
            ],
            "mixtures": quantise.blend_legend(coloring)[len(coloring.names) :],
        }
    return {"colors": colors, "selection": None}


def _describe_map(
    xy: np.ndarray, coloring: Coloring, codes: np.ndarray, selected: np.ndarray | None, colors_channel: str
) -> dict[str, Any]:
    channel, _ = _position_message(xy)
    labels = None
    if isinstance(coloring, Labels):
        labels = map_layout.label_places(xy, codes, coloring.n_own or len(coloring.names), (channel, colors_channel))
    box = None
    if selected is not None and selected.any():
        chosen = xy[selected]
        box = raster.fit_box(chosen[:: max(1, len(chosen) // 100_000)])
    return {"fit": map_layout.fitted(xy, channel), "labels": labels, "selected_box": box}


def _send_picture(name: str, xy: np.ndarray, cells: raster.Cells, screen: Mapping, key: str) -> dict[str, Any] | None:
    """Draw what a browser without WebGL looks at, and send it."""
    box = _numbers((screen.get("boxes") or {}).get(name), 4)
    look = _numbers([screen.get(part) for part in ("width", "height", "zoom", "dpr")], 4)
    if box is None or look is None or not (box[0] < box[2] and box[1] < box[3]):
        return None
    width, height, zoom, dpr = look
    if min(width, height) < 8:
        return None
    pixels = [int(min(_MAX_PICTURE, side * min(2, max(1, dpr)))) for side in (width, height)]
    size, opacity = raster.point_look(len(xy), width, height, zoom)
    picture = raster.draw_cells(
        xy, cells, box=box, width=pixels[0], height=pixels[1], size=size * pixels[0] / width, opacity=opacity
    )
    return {"channel": _send(raster.to_png(picture), key), "box": list(box)}


def _check_event(sent: Mapping) -> MapEvent | None:
    """An event from the browser, or `None` where it makes no sense: nothing that a browser sends is believed."""
    kind, operation = sent.get("kind"), sent.get("operation", "replace")
    if kind not in ("lasso", "rectangle", "category", "rename", "cell", "clear"):
        return None
    text = " ".join(str(sent.get("text") or "").split())[:MAX_TEXT]
    if kind == "rename" and not text:
        return None
    if operation not in ("replace", "add", "subtract", "intersect"):
        return None
    vertices = tuple(_numbers(vertex, 2) for vertex in sent.get("polygon") or ())
    if None in vertices or (kind in ("lasso", "rectangle") and not 3 <= len(vertices) <= 1_000):
        return None
    code = _numbers([sent.get("code", sent.get("cell", -1))], 1)
    return MapEvent(kind, str(sent.get("map", "")), operation, vertices, int(code[0]) if code else -1, text)


def _numbers(values: Any, count: int) -> tuple[float, ...] | None:
    if not isinstance(values, Sequence) or len(values) != count:
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and np.isfinite(v) for v in values):
        return None
    return tuple(float(v) for v in values)


def _as_positions(array: np.ndarray) -> np.ndarray:
    """float32 (n_cells, 2), the same object for the same array, so that it is hashed and packed once."""
    if array.dtype == np.float32 and array.ndim == 2 and array.shape[1] == 2 and array.flags.c_contiguous:
        return array
    found = _converted.get(id(array))
    if found is None or found[0]() is not array:
        _forget(_converted)
        found = (weakref.ref(array), np.ascontiguousarray(array[:, :2], np.float32))
        _converted[id(array)] = found
    return found[1]


_converted: dict[int, tuple[weakref.ref, np.ndarray]] = {}


def _forget(cache: dict) -> None:
    """Drop what belongs to arrays that are gone."""
    for key in [key for key, entry in list(cache.items()) if entry[0]() is None]:
        cache.pop(key, None)


def _position_message(xy: np.ndarray) -> tuple[str, bytes]:
    found = _messages.get(id(xy))
    if found is None or found[0]() is not xy:
        _forget(_messages)
        found = (weakref.ref(xy), *_message(xy.tobytes()))
        _messages[id(xy)] = found
    return found[1], found[2]


def _hidden_codes(key: str, content_id: str) -> tuple[int, ...]:
    sent = (st.session_state.get(key) or {}).get("hidden")
    if not isinstance(sent, Mapping) or sent.get("colors") != content_id:
        return ()
    return tuple(int(code) for code in sent.get("codes", ()) if isinstance(code, int | float))


def _content_id(channel: str, coloring: Coloring) -> str:
    """Identity of a colouring: its codes and what they are called."""
    return hashlib.sha256(f"{channel}{coloring.title}{getattr(coloring, 'names', '')}".encode()).hexdigest()[:16]


def _message(content: bytes) -> tuple[str, bytes]:
    """(id, id + length + content), filled up so that Streamlit caches it."""
    channel = hashlib.sha256(content).hexdigest()[:36]
    message = channel.encode() + len(content).to_bytes(4, "little") + content
    # Streamlit keeps messages from this size on, and later sends only their hash; smaller ones are sent again.
    return channel, message.ljust(int(st.get_option("global.minCachedMessageSize")), b"\0")


@cache
def _component():
    """The component, found when it is first needed: its files are known only where a server runs."""
    return st.components.v2.component("scfviz.cell_map", js="cell_map.js")


def _send(content: bytes, key: str) -> str:
    channel, message = _message(content)
    _component()(key=key, data=message, height=1)
    return channel


def _send_positions(xy: np.ndarray, key: str) -> str:
    channel, message = _position_message(xy)
    _component()(key=key, data=message, height=1)
    return channel


def _nothing() -> None:
    """Streamlit passes on only those states of a component that have a callback."""
