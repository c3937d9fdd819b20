"""How maps are coloured: controls for a label, a gene, a gene set, a value or several genes, and for the colours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st

from scfviz.errors import GeneError, ScfvizError
from scfviz.ui.drawing import coloring, palette, quantise
from scfviz.ui.drawing.cell_map import MAX_MAPS
from scfviz.ui.explorer import address
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer.data import Explored, title_of
from scfviz.ui.explorer.panels import gene_sets
from scfviz.ui.frame import sources
from scfviz.ui.frame.text import plain, plural

EXPRESSION_UNIT = "ln(1 + counts per 10,000)"


@dataclass(frozen=True)
class Request:
    """What the maps are to be coloured by: a way, and the column, the genes, or the name of a set with its genes."""

    kind: str
    name: str = ""
    genes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chosen:
    """What the controls of the maps say.

    Attributes
    ----------
    maps
        Names of the maps to show.
    coloring
        Colours of the shown cells.
    column
        Column of the table, where the colouring is by one.
    request
        What it is by.
    is_complete
        Whether these are the colours that are asked for, and not the last ones: nothing is chosen yet, or it is wrong.
    """

    maps: list[str]
    coloring: quantise.Coloring
    column: str | None
    request: Request | None = None
    is_complete: bool = True


def with_palette(data: Explored) -> Explored:
    """The dataset in the colours that this visitor wants for groups. After `address.restore`."""
    return replace(data, palette=st.session_state["x_palette"])


def choose(source: sources.Source, data: Explored, store: str | None, *, has_maps: bool = True) -> Chosen:
    """Ask for colours and maps. What cannot be coloured is reported beside its box, and the last colours stay.

    Parameters
    ----------
    data
        With `with_palette`; its controls were set by `address.restore`.
    store
        Folder of the counts by genes, once it is written.
    has_maps
        Whether the visitor may choose among the maps.
    """
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="x_controls"):
        kinds = address.options(data)["color"]
        kind = st.segmented_control(
            "Colour by",
            kinds,
            format_func=address.KINDS.get,
            required=True,
            key="x_color",
            label_visibility="collapsed",
            width="content",
        )
        with st.container(key="x_box", width=260):
            request = _ASK[kind](data)
        with st.popover("", icon=":material/palette:", help="Colours", width="content"):
            _choose_look()
        maps = _choose_maps(data) if has_maps and len(data.maps) > 1 else address.default_maps(data)
    found, request, is_complete = _color_safely(source, data, store, request)
    column = request.name if request.kind in ("label", "value") else None
    return Chosen(maps, found, column, request, is_complete)


def choose_set(origin: str, name: str) -> None:
    """Colour the maps by a gene set; for callbacks, which run before the page."""
    st.session_state["x_color"], st.session_state["x_set_source"] = "set", origin
    put("x_set", name)


def put(key: str, value: str) -> None:
    """Set a field of the view, drawn or not; for callbacks."""
    st.session_state[key] = value


def choose_gene(gene: str) -> None:
    """Colour the maps by a gene; for callbacks."""
    if gene:
        st.session_state["x_color"] = "gene"
        put("x_gene", gene)


def _ask_label(data: Explored) -> Request:
    column = st.selectbox("Label", data.labels, format_func=title_of, key="x_label", label_visibility="collapsed")
    return Request("label", column)


def _ask_value(data: Explored) -> Request:
    column = st.selectbox("Value", data.values, format_func=title_of, key="x_value", label_visibility="collapsed")
    return Request("value", column)


def _ask_gene(data: Explored) -> Request:
    asked = st.selectbox(
        "Gene",
        data.genes,
        key="x_gene",
        accept_new_options=True,
        label_visibility="collapsed",
        index=None,
        placeholder="Symbol, alias or Ensembl ID",
    )
    return Request("gene", genes=(asked,) if asked else ())


def _ask_genes(data: Explored) -> Request:
    known = set(data.genes)
    st.session_state["x_genes"] = [name for name in st.session_state["x_genes"] if name in known][:3]
    asked = st.multiselect(
        "Two or three genes",
        data.genes,
        key="x_genes",
        max_selections=3,
        select_all=False,
        placeholder="Two or three genes",
        label_visibility="collapsed",
    )
    return Request("genes", genes=tuple(asked))


def _ask_set(data: Explored) -> Request:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        field = st.container()
        with st.popover("", icon=":material/library_books:", help="Where the gene sets come from", width="content"):
            origin = gene_sets.choose_source("x_set_source", own=True)
    if origin == gene_sets.OWN:
        text = field.text_input(
            "Genes of the set",
            key="x_set_genes",
            placeholder="CD3D, CD3E, TRAC",
            label_visibility="collapsed",
            help="Symbols, aliases or Ensembl IDs, with commas or spaces between them.",
        )
        return Request("set", "own genes", tuple(gene_sets.split_genes(text)))
    if st.session_state["x_set"] not in (names := gene_sets.names(origin)):
        st.session_state["x_set"] = None
    chosen = field.selectbox(
        "Gene set",
        names,
        key="x_set",
        placeholder="Letters of its name",
        index=None,
        label_visibility="collapsed",
    )
    found = gene_sets.find(origin, chosen)
    return Request("set", found.name, tuple(found.genes)) if found else Request("set")


_ASK = {"label": _ask_label, "value": _ask_value, "gene": _ask_gene, "set": _ask_set, "genes": _ask_genes}


def _choose_look() -> None:
    st.selectbox("Colours of groups", list(palette.GROUP_TITLES), format_func=palette.GROUP_TITLES.get, key="x_palette")
    first = palette.GROUP_COLORS.get(st.session_state["x_palette"], palette.CATEGORIES)[:16]
    _show_strip([f"{color} {100 * i / 16}% {100 * (i + 1) / 16}%" for i, color in enumerate(first)])
    ramps = {name: ramp.title for name, ramp in palette.RAMPS.items()}
    st.selectbox("Colours of numbers", list(ramps), format_func=ramps.get, key="x_ramp")
    is_dark = st.context.theme.type == "dark"
    ramp = palette.RAMPS[st.session_state["x_ramp"]]
    _show_strip(ramp.on_dark if is_dark else ramp.on_light)
    st.caption("All of them can be told apart with any colour vision.")


def _show_strip(colors: Sequence[str]) -> None:
    stops = ", ".join(colors)
    st.html(f'<div style="height:0.8rem;border-radius:0.25rem;background:linear-gradient(to right, {stops})"></div>')


def _choose_maps(data: Explored) -> list[str]:
    names = st.session_state["x_maps"]
    title = "Map" if len(names) == 1 else f"{len(names)} maps"
    with st.popover(title, icon=":material/grid_view:", help="Which maps are shown", width="content"):
        names = st.pills("Maps", list(data.maps), format_func=data.titles.get, selection_mode="multi", key="x_maps")
        if len(names) > MAX_MAPS:
            st.caption(f"The first {MAX_MAPS} are shown.")
    return [name for name in data.maps if name in names][:MAX_MAPS] or address.default_maps(data)


def _color_safely(
    source: sources.Source, data: Explored, store: str | None, request: Request
) -> tuple[quantise.Coloring, Request, bool]:
    """The colours that are asked for; else the last that could be had, and beside the box what is wrong; of what."""
    key = f"scfviz.colored.{data.dataset}"
    is_complete = bool(request.genes or request.name)
    try:
        if request.genes and request.kind in ("gene", "genes") and explorer_data.must_wait(data, store):
            explorer_data.show_waiting(source)
            found = None
        else:
            found = _color(source, data, store, request)
    except ScfvizError as error:
        _show_trouble(error)
        found, is_complete = None, False
    if found is not None:
        st.session_state[key] = request
    else:
        request = st.session_state.get(key, _first_request(data))
        try:
            found = _color(source, data, store, request)
        except ScfvizError:
            found = None
        if found is None:
            request = _first_request(data)
            found = _color(source, data, store, request) or _grey(data)
    return found, request, is_complete


def _first_request(data: Explored) -> Request:
    wanted = address.defaults(data)
    return Request(wanted["color"], wanted.get(wanted["color"]) or "")


def _color(source: sources.Source, data: Explored, store: str | None, request: Request) -> quantise.Coloring | None:
    """The colours of a request; `None` while nothing is chosen, or while its values are being computed.

    Raises
    ------
    GeneError
        A gene is not in the file, or its name stands for several.
    """
    ramp = st.session_state["x_ramp"]
    if request.kind == "label":
        return data.groups(request.name) if request.name in data.labels else None
    if request.kind == "value":
        if request.name not in data.values:
            return None
        unit = explorer_data.unit_of(request.name) or "column of the file"
        values = data.column(request.name).to_numpy(float, na_value=np.nan)
        return coloring.color_by_values(title_of(request.name), unit, values, ramp)
    if not request.genes:
        return None
    if request.kind == "gene":
        asked = request.genes[0]
        gene, values = _read(source, data, store, asked)
        return coloring.color_by_values(gene if gene == asked else f"{gene} ({asked})", EXPRESSION_UNIT, values, ramp)
    if request.kind == "genes":
        return quantise.blend(dict(_read(source, data, store, name) for name in request.genes), EXPRESSION_UNIT)
    score = gene_sets.score(source, data, store, request.genes)
    if score is None:
        return None
    title = f"{request.name} ({len(score.genes):,} of {plural(len(request.genes), 'gene')} measured)"
    return coloring.color_by_values(title, gene_sets.SCORE_UNIT, score.values, ramp)


def _read(source: sources.Source, data: Explored, store: str | None, asked: str) -> tuple[str, np.ndarray]:
    gene = data.index.names[data.index.find(asked)]
    with st.spinner(f"Reading {gene} …"):
        return gene, explorer_data.gene_values(source, data, gene, store)


def _show_trouble(error: ScfvizError) -> None:
    """What is wrong with a choice, in one line below it, with what could be meant to click on."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="x_trouble"):
        words = " ".join(part for part in (error.found, error.advice) if part)
        st.error(plain(words), icon=":material/error:", width="stretch")
        for gene in list(getattr(error, "candidates", ()))[:6] if isinstance(error, GeneError) else ():
            st.button(gene, key=f"x_meant_{gene}", on_click=choose_gene, args=(gene,), width="content")


def _grey(data: Explored) -> coloring.Values:
    """No cell has a colour."""
    return coloring.Values("no colours", "", np.full(len(data.shown), np.nan, np.float32), 0.0, 1.0)
