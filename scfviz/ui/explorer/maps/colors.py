"""How the explorer's maps are coloured: a label, a gene, a gene set, a value, several genes."""

from dataclasses import dataclass

import numpy as np
import streamlit as st
from streamlit.errors import StreamlitAPIException

from scfviz.errors import GeneError
from scfviz.ui.drawing import coloring, quantise
from scfviz.ui.drawing.cell_map import MAX_MAPS
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer.data import Explored, title_of
from scfviz.ui.explorer.panels import gene_sets
from scfviz.ui.frame import describe, page, sources
from scfviz.ui.frame.text import plural

KINDS = {"label": "Label", "gene": "Gene", "set": "Gene set", "value": "Value", "genes": "Mix"}
EXPRESSION_UNIT = "ln(1 + counts per 10,000)"


@dataclass(frozen=True)
class Chosen:
    """What the controls above the maps say.

    Attributes
    ----------
    maps
        Names of the maps to show.
    coloring
        Colours of the shown cells.
    column
        Column of the table, where the colouring is by one.
    """

    maps: list[str]
    coloring: quantise.Coloring
    column: str | None


def choose(source: sources.Source, data: Explored, store: str | None) -> Chosen:
    """Ask which maps to show, and their colours."""
    left, middle, right = st.columns([2.1, 1.8, 1.5], gap="medium", vertical_alignment="bottom")
    all_maps = list(data.maps)
    names = right.multiselect(
        "Maps", all_maps, default=all_maps[:2], format_func=data.titles.get, max_selections=MAX_MAPS, key="x_maps",
        bind="query-params",
    )  # fmt: skip
    kinds = [kind for kind in KINDS if (kind != "label" or data.labels) and (kind != "value" or data.values)]
    # A click on a gene elsewhere sets this choice; Streamlit then wants no default beside it.
    default = None if st.session_state.get("x_color") in kinds else kinds[0]
    kind = left.segmented_control(
        "Colour by", kinds, format_func=KINDS.get, default=default, required=True, key="x_color", bind="query-params"
    )
    column = None
    with middle:
        if kind == "label":
            column = st.selectbox("Label", data.labels, format_func=title_of, key="x_label", bind="query-params")
            stored = data.colors.get(column)
            chosen = coloring.color_by_labels(title_of(column), data.column(column), stored=stored)
        elif kind == "value":
            name = st.selectbox("Value", data.values, format_func=title_of, key="x_value", bind="query-params")
            unit = explorer_data.UNITS.get(name, "column of the file")
            chosen = coloring.color_by_values(title_of(name), unit, data.column(name).to_numpy(float))
        elif kind == "gene":
            chosen = _by_gene(source, data, store)
        elif kind == "set":
            chosen = _by_set(source, data, store)
        else:
            chosen = _by_genes(source, data, store)
    return Chosen(names or all_maps[:1], chosen, column)


def _by_gene(source: sources.Source, data: Explored, store: str | None) -> coloring.Values:
    asked = st.selectbox(
        "Gene", data.genes, index=None, key="x_gene", bind="query-params", accept_new_options=True,
        placeholder="Symbol, alias or Ensembl ID",
    )  # fmt: skip
    if not asked:
        return _nothing(data, "no gene chosen")
    gene, values = _read(source, data, store, asked)
    title = gene if gene == asked else f"{gene} ({asked})"
    return coloring.color_by_values(title, EXPRESSION_UNIT, values)


def _by_set(source: sources.Source, data: Explored, store: str | None) -> coloring.Values:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        field = st.container()
        with st.popover("", icon=":material/library_books:", help="Where the gene sets come from", width="content"):
            origin = gene_sets.choose_source("x_set_source", "sets", own=True)
    if origin == gene_sets.OWN:
        text = field.text_input(
            "Genes of the set", key="x_set_genes", bind="query-params", placeholder="CD3D, CD3E, TRAC",
            help="Symbols, aliases or Ensembl IDs, with commas or spaces between them.",
        )  # fmt: skip
        name, genes = "own genes", gene_sets.split_genes(text)
    else:
        chosen = field.selectbox(
            "Gene set", gene_sets.names(origin), index=None, key="x_set", bind="query-params",
            placeholder="Type a few letters of its name",
        )  # fmt: skip
        found = gene_sets.find(origin, chosen)
        name, genes = (found.name, found.genes) if found else ("", ())
    if not genes:
        return _nothing(data, "no gene set chosen")
    try:
        score = gene_sets.score(source, data, store, genes)
    except GeneError as error:  # the maps stay: only their colours are missing
        page.show_error(error.title, error.found, error.needed, error.advice)
        return _nothing(data, "no gene of the set was measured")
    if score is None:
        return _nothing(data, "being scored")
    title = f"{name} ({len(score.genes):,} of {plural(len(genes), 'gene')} measured)"
    return coloring.color_by_values(title, gene_sets.SCORE_UNIT, score.values)


def _nothing(data: Explored, title: str) -> coloring.Values:
    """No cell has a colour."""
    return coloring.Values(title, "", np.full(len(data.shown), np.nan, np.float32), 0.0, 1.0)


def choose_set(origin: str, name: str) -> None:
    """Colour the maps by a gene set; for callbacks, which run before the page."""
    st.session_state["x_color"], st.session_state["x_set_source"] = "set", origin
    put("x_set", name)


def put(key: str, value: str) -> None:
    """Set a field that the address keeps, drawn or not: one that is not drawn yet takes no note of the address."""
    st.session_state[key] = value
    try:
        st.query_params[key] = value
    except StreamlitAPIException:  # it is drawn, and brings the address along by itself
        pass


def _by_genes(source: sources.Source, data: Explored, store: str | None) -> quantise.Coloring:
    asked = st.multiselect(
        "Two or three genes", data.genes, key="x_genes", max_selections=3, placeholder="Their colours are mixed",
        bind="query-params",
    )  # fmt: skip
    if not asked:
        return _nothing(data, "no gene chosen")
    return quantise.blend(dict(_read(source, data, store, name) for name in asked), EXPRESSION_UNIT)


def _read(source: sources.Source, data: Explored, store: str | None, asked: str) -> tuple[str, np.ndarray]:
    gene = describe.find_gene(asked, set(data.genes))
    with st.spinner(f"Reading {gene} …"):
        return gene, explorer_data.gene_values(source, data, gene, store)
