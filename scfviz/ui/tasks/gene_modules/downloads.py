"""Files of modules and networks: figures, graphs for other programs, tables, gene sets."""

from pathlib import Path

import pandas as pd
import streamlit as st

from scfviz.tasks.gene_modules import export
from scfviz.tasks.result import Result
from scfviz.tasks.spec import Task
from scfviz.ui.drawing.network import Network, draw_figure
from scfviz.ui.frame import page, sources
from scfviz.ui.frame.text import plain
from scfviz.ui.tasks.result import show_downloads

_FIGURES = {"svg": "image/svg+xml", "png": "image/png", "pdf": "application/pdf"}
_PRIOR = "gene_modules-prior"


def show_figure(network: Network, source: sources.Source, view: str) -> None:
    """The picture as a file."""
    with st.container(horizontal=True):
        for kind, mime in _FIGURES.items():
            st.download_button(
                f"Figure ({kind.upper()})",
                lambda kind=kind: draw_figure(network, kind, caption=f"{source.title}: {network.label}"),
                f"{_stem(source)}_{view}.{kind}",
                mime,
                on_click="ignore",
                icon=":material/imagesmode:",
                key=f"gene_modules-figure-{kind}",
            )


def show(task: Task, result: Result, source: sources.Source) -> None:
    """Graphs and gene sets, then the tables and the dataset as every task has them."""
    stem = _stem(source)
    genes, links, network = (result.tables[name] for name in ("genes", "links", "network"))
    with st.container(border=True, key="card-graphs"):
        st.markdown("#### For other programs")
        _ask_for_prior()
        with st.container(horizontal=True):
            for name, label, build, mime in (
                ("modules.graphml", "Modules (GraphML)", lambda: _graph(genes, links, "graphml"), "application/xml"),
                ("modules.cyjs", "Modules (Cytoscape JSON)", lambda: _graph(genes, links, "cyjs"), "application/json"),
                (
                    "modules.gmt",
                    "Modules (GMT)",
                    lambda: export.gmt_text(genes, result.tables["modules"]),
                    "text/plain",
                ),
                ("network.graphml", "Regulators (GraphML)", lambda: _regulators(genes, network), "application/xml"),
                (
                    "network.csv",
                    "Regulators with evidence (CSV)",
                    lambda: known(network).to_csv(index=False),
                    "text/csv",
                ),
            ):
                if "network" in name and not len(network):
                    continue
                st.download_button(
                    label,
                    build,
                    f"{stem}_{name}",
                    mime,
                    on_click="ignore",
                    icon=":material/download:",
                    key=f"gene_modules-{name}",
                )
        st.caption("Cytoscape and Gephi open GraphML; places, modules, weights and evidence are in it.")
    show_downloads(task, result, source)


def known(network: pd.DataFrame) -> pd.DataFrame:
    """The network, with a column that says which edges a network of the visitor's holds, where one was given."""
    from scfviz.tasks.gene_modules.prior import mark_known

    prior = st.session_state.get(_PRIOR)
    return network if prior is None else mark_known(network, prior)


def _ask_for_prior() -> None:
    """A known network: read in memory, for this visitor alone."""
    from scfviz.tasks.gene_modules.prior import read_prior_bytes

    with st.expander("Mark edges that are known already", icon=":material/verified:"):
        st.markdown(
            "Give a table of a network that you may use (CollecTRI, DoRothEA, your own): columns `source`, `target` "
            "and perhaps `weight`. It stays in this session; scfviz ships none."
        )
        file = st.file_uploader("Known network", key="gene_modules-prior-file", label_visibility="collapsed")
        if file is None:
            st.session_state.pop(_PRIOR, None)
            return
        with page.guard():
            prior = read_prior_bytes(file.getvalue(), file.name)
            st.session_state[_PRIOR] = prior
            for note in prior.notes:
                st.caption(plain(note))


def _graph(genes: pd.DataFrame, links: pd.DataFrame, kind: str) -> bytes:
    graph = export.gene_graph(genes, links)
    return export.graphml_bytes(graph) if kind == "graphml" else export.cytoscape_bytes(graph)


def _regulators(genes: pd.DataFrame, network: pd.DataFrame) -> bytes:
    return export.graphml_bytes(export.regulator_graph(genes, known(network)))


def _stem(source: sources.Source) -> str:
    return Path(source.title).name.split(".")[0] or "cells"
