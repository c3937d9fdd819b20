"""The view as one value: what the visitor chose, written to the address and restored from it as a whole.

Every change of the view is one step of the browser's history. Back and Forward run the page with an older address: then
all choices are taken from it, those that it does not name get their default, and the selection becomes the one that it
names. Choices that are not on the screen (the label while a gene is shown) stay in the session.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from scfviz.ui.drawing import palette
from scfviz.ui.explorer.data import Explored

VIEW, SELECTION = "view", "sel"
SETS = "ontology"  # the gene sets that ship with scfviz


class Coloring(NamedTuple):
    """A way to colour maps: its word on the screen, and the fields of the view that say what is chosen in it."""

    title: str
    fields: tuple[str, ...]


# The one table of ways: controls, address, session file, report and script follow it.
COLORINGS = {
    "label": Coloring("Label", ("label",)),
    "gene": Coloring("Gene", ("gene",)),
    "set": Coloring("Gene set", ("set_source", "set", "set_genes")),
    "value": Coloring("Value", ("value",)),
    "genes": Coloring("Mix", ("genes",)),
}
KINDS = {name: way.title for name, way in COLORINGS.items()}
_OF_KIND = {name: way.fields for name, way in COLORINGS.items()}
_LISTS = ("genes", "maps")
_ALWAYS = ("maps", "palette", "ramp", "panel")
# In the session as x_color, x_label, ...; lists hold several names.
FIELDS = ("color", *(field for way in COLORINGS.values() for field in way.fields), *_ALWAYS)
PANELS = {
    "compare": "Compare",
    "markers": "Markers",
    "enrichment": "Gene sets",
    "plots": "Expression",
    "composition": "Composition",
    "distributions": "Distributions",
    "labels": "Labels",
    "subset": "Subset",
    "report": "Export",
}


def is_history_step() -> bool:
    """Whether the page runs because the visitor pressed Back or Forward."""
    context = get_script_run_ctx()
    return bool(context and context.is_history_navigation)


def restore(data: Explored) -> str | None:
    """Set the controls before they are drawn.

    Returns
    -------
    str or None
        The id of the selection that the address asks for; `None` where it has no say: the visitor went on working.
        An empty text asks for no selection.
    """
    steps, kept = is_history_step(), _kept(data)
    arrives = steps or "x_color" not in st.session_state or not kept
    asked = read() if arrives else {}
    known, wanted = options(data), defaults(data)
    # An address that names a view names it whole; a bare one, from the menu, finds the view as it was left.
    is_whole = steps or bool(asked)
    replaced = steps or bool(asked and kept)  # the first run of a session keeps what was set before it
    whole = ("color", *_ALWAYS, *_OF_KIND.get(asked.get("color", wanted["color"]), ())) if is_whole else ()
    for name in FIELDS:
        key = f"x_{name}"
        if replaced or key not in st.session_state or not _is_known(st.session_state[key], known.get(name)):
            value = _known_part(asked.get(name), known.get(name))
            if value is None and name not in whole:
                value = _known_part(kept.get(name), known.get(name))
            st.session_state[key] = wanted[name] if value is None else value
    if not arrives:
        return None
    return str(asked.get(SELECTION) or "") if steps or SELECTION in asked else None


def collect(data: Explored) -> dict[str, Any]:
    """What is chosen now, by field; kept in the session for the next visit to the page."""
    kept = _kept(data)
    now = {name: st.session_state.get(f"x_{name}", kept.get(name)) for name in FIELDS}
    now = {name: list(value) if isinstance(value, list | tuple) else value for name, value in now.items()}
    st.session_state[_key(data)] = now
    return now


def write(data: Explored, selection: str | None, *, is_complete: bool = True) -> None:
    """Let the address say what is on the screen: one step of the history, and only where something changed.

    Parameters
    ----------
    selection
        The id of what is selected.
    is_complete
        Whether the maps have the colours that the controls ask for; while no gene is chosen, or a wrong one, they
        keep the last ones, and so does the address.
    """
    fields, key = collect(data), f"{_key(data)}.colored"
    if is_complete:
        st.session_state[key] = {name: fields[name] for name in ("color", *_OF_KIND[fields["color"]])}
    else:
        fields = fields | st.session_state.get(key, {"color": defaults(data)["color"]})
    now = encode(data, fields, selection)
    if now == encode(data, _complete(data, read()), read().get(SELECTION)):
        return
    if now or any(f"x_{name}" in st.query_params for name in FIELDS) or SELECTION in st.query_params:
        st.query_params[VIEW] = now or f"color.{defaults(data)['color']}"
    else:
        del st.query_params[VIEW]


def encode(data: Explored, fields: dict[str, Any], selection: str | None) -> str:
    """A view as text, such as `color.gene~gene.CD79A~panel.plots`; empty for the view that opens by itself."""
    wanted, parts = defaults(data), []
    for name in ("color", *_OF_KIND.get(fields.get("color"), ()), *_ALWAYS):
        value = fields.get(name)
        if value and value != wanted[name]:
            parts += [f"{name}.{_escape(one)}" for one in (value if isinstance(value, list) else [value])]
    if selection:
        parts.append(f"{SELECTION}.{selection}")
    return "~".join(parts)


def read() -> dict[str, Any]:
    """The choices that the address names. Single ones, such as `x_gene=CD79A`, are for links that people write."""
    if VIEW in st.query_params:
        return decode(st.query_params[VIEW])
    found: dict[str, Any] = {}
    titles = {"color": _turned(KINDS), "panel": _turned(PANELS)}
    for name in FIELDS:
        if given := st.query_params.get_all(f"x_{name}"):
            found[name] = given if name in _LISTS else titles.get(name, {}).get(given[-1], given[-1])
    if SELECTION in st.query_params:
        found[SELECTION] = st.query_params[SELECTION]
    return found


def decode(text: str) -> dict[str, Any]:
    """The fields of a view; what is no field is left out."""
    found: dict[str, Any] = {}
    for part in text.split("~"):
        name, _, value = part.partition(".")
        if name in _LISTS:
            found.setdefault(name, []).append(unquote(value))
        elif name in FIELDS or name == SELECTION:
            found[name] = unquote(value)
    return found


def defaults(data: Explored) -> dict[str, Any]:
    """The view that opens by itself."""
    kinds = options(data)["color"]
    return {
        "color": kinds[0],
        "label": data.labels[0] if data.labels else None,
        "value": data.values[0] if data.values else None,
        "gene": None,
        "genes": [],
        "set_source": SETS,
        "set": None,
        "set_genes": "",
        "maps": default_maps(data),
        "palette": palette.FILE,
        "ramp": palette.DEFAULT_RAMP,
        "panel": next(iter(PANELS)),
    }


def options(data: Explored) -> dict[str, Sequence[str]]:
    """What can be chosen, by field; fields that are not here take any text."""
    kinds = [kind for kind in KINDS if (kind != "label" or data.labels) and (kind != "value" or data.values)]
    return {
        "color": kinds,
        "label": data.labels,
        "value": data.values,
        "maps": tuple(data.maps),
        "palette": tuple(palette.GROUP_TITLES),
        "ramp": tuple(palette.RAMPS),
        "panel": tuple(PANELS),
    }


def default_maps(data: Explored) -> list[str]:
    """Up to two maps that were made to be looked at; principal components only where there is nothing else."""
    maps = [name for name in data.maps if not re.search(r"pca|lsi", name.lower())]
    return (maps or list(data.maps))[:2]


def _complete(data: Explored, asked: dict[str, Any]) -> dict[str, Any]:
    """The view that an address stands for."""
    known = options(data)
    given = {name: _known_part(asked.get(name), known.get(name)) for name in FIELDS}
    return defaults(data) | {name: value for name, value in given.items() if value is not None}


def _known_part(value: Any, known: Sequence[str] | None) -> Any:
    if value is None or known is None:
        return value
    if isinstance(value, list):
        return [one for one in value if one in known] or None
    return value if value in known else None


def _is_known(value: Any, known: Sequence[str] | None) -> bool:
    return known is None or (all(one in known for one in value) if isinstance(value, list) else value in known)


def _kept(data: Explored) -> dict[str, Any]:
    return st.session_state.get(_key(data), {})


def _key(data: Explored) -> str:
    return f"scfviz.view.{data.dataset}"


def _turned(titles: dict[str, str]) -> dict[str, str]:
    return {title: name for name, title in titles.items()}


def _escape(text: str) -> str:
    return str(text).replace("%", "%25").replace("~", "%7E")
