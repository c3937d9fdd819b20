"""How the explorer's maps are coloured: a label, a gene, several genes, a value."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from scfviz.ui import coloring, describe, quantise, sources, state
from scfviz.ui.cell_map import MAX_MAPS
from scfviz.ui.explorer import data as explorer_data
from scfviz.ui.explorer.data import Explored, title_of

_KINDS = {"label": "Label", "gene": "Gene", "value": "Value", "genes": "Mix"}
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
    left, middle, right = st.columns([1.5, 1.7, 1.6], gap="medium", vertical_alignment="bottom")
    all_maps = list(data.maps)
    names = right.multiselect(
        "Maps", all_maps, default=all_maps[:2], format_func=data.titles.get, max_selections=MAX_MAPS, key="x_maps"
    )  # fmt: skip
    kinds = [kind for kind in _KINDS if (kind != "label" or data.labels) and (kind != "value" or data.values)]
    # A click on a gene elsewhere sets this choice; Streamlit then wants no default beside it.
    default = None if st.session_state.get("x_color") in kinds else kinds[0]
    kind = left.segmented_control(
        "Colour by", kinds, format_func=_KINDS.get, default=default, required=True, key="x_color", bind="query-params"
    )
    column = None
    with middle:
        if kind == "label":
            column = st.selectbox("Label", data.labels, format_func=title_of, key="x_label", bind="query-params")
            stored = describe.colors(source, state.gene_column()).get(column)
            chosen = coloring.color_by_labels(title_of(column), data.column(column), stored=stored)
        elif kind == "value":
            name = st.selectbox("Value", data.values, format_func=title_of, key="x_value", bind="query-params")
            unit = explorer_data.UNITS.get(name, "column of the file")
            chosen = coloring.color_by_values(title_of(name), unit, data.column(name).to_numpy(float))
        elif kind == "gene":
            chosen = _by_gene(source, data, store)
        else:
            chosen = _by_genes(source, data, store)
    return Chosen(names or all_maps[:1], chosen, column)


def _by_gene(source: sources.Source, data: Explored, store: str | None) -> coloring.Values:
    asked = st.selectbox(
        "Gene", data.genes, index=None, key="x_gene", bind="query-params", accept_new_options=True,
        placeholder="Symbol, alias or Ensembl ID",
    )  # fmt: skip
    if not asked:
        nothing = np.full(len(data.shown), np.nan, np.float32)
        return coloring.Values("no gene chosen", "", nothing, 0.0, 1.0)
    gene, values = _read(source, data, store, asked)
    title = gene if gene == asked else f"{gene} ({asked})"
    return coloring.color_by_values(title, EXPRESSION_UNIT, values)


def _by_genes(source: sources.Source, data: Explored, store: str | None) -> quantise.Coloring:
    asked = st.multiselect(
        "Two or three genes", data.genes, key="x_genes", max_selections=3, placeholder="Their colours are mixed"
    )
    if not asked:
        return coloring.Values("no gene chosen", "", np.full(len(data.shown), np.nan, np.float32), 0.0, 1.0)
    return quantise.blend(dict(_read(source, data, store, name) for name in asked), EXPRESSION_UNIT)


def _read(source: sources.Source, data: Explored, store: str | None, asked: str) -> tuple[str, np.ndarray]:
    gene = describe.find_gene(asked, set(data.genes))
    with st.spinner(f"Reading {gene} …"):
        return gene, explorer_data.gene_values(source, data, gene, store)
