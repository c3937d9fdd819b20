"""What was clicked in the picture: a gene with its evidence, or a module with its meaning, and either on the map."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from scfviz.tasks.result import Result
from scfviz.ui.drawing.coloring import color_by_values
from scfviz.ui.frame import sources
from scfviz.ui.frame.text import plain, plural
from scfviz.ui.tasks.gene_modules import words

if TYPE_CHECKING:
    from scfviz.ui.explorer.data import Explored

_UNIT = "ln(1 + counts per 10,000)"
_MAP_HEIGHT, _ROWS_HEIGHT, _MOST_ROWS = 300, 250, 200
_LINKS = {
    "gene": "Gene",
    "weight": "Expected r",
    "r_coexpression": "Co-expression",
    "r_model": "Model",
    "stability": "Stability",
}
_EDGES = {
    "gene": "Gene",
    "what": "",
    "sign": "Sign",
    "weight": "Weight",
    "percentile": "Percentile of null",
    "stability": "Stability",
    "r_coexpression": "Co-expression",
    "r_model": "Model",
    "trees": "Trees",
    "known": "Known",
}


def show_gene(result: Result, source: sources.Source, gene: str) -> None:
    """A gene: where it stands, its expression on the map, neighbours and regulators with their evidence."""
    genes = result.tables["genes"].set_index("gene")
    row = genes.loc[gene]
    what = "transcription factor" if row["is_factor"] else "gene"
    where = f"module {int(row['module'])}" if row["module"] else "no module"
    st.markdown(
        f"#### {plain(gene)}\n\n{what} · {where} · in {row['share']:.0%} of the cells · with its module again in "
        f"{row['stability']:.0%} of halves"
    )
    show_map(result, source, gene=gene)
    links, edges = links_of(result, gene), edges_of(result, gene)
    if len(links):
        st.markdown(f"**Goes together with** {plural(len(links), 'gene')}")
        _show_table(links, _LINKS, f"gene_modules-links-{gene}")
    if len(edges):
        st.markdown(f"**Regulators and targets:** {plural(len(edges), 'edge')}")
        _show_table(edges, _EDGES, f"gene_modules-edges-{gene}")
    if "enrichment" in result.tables and row["module"]:
        sets = sets_of(result, gene, int(row["module"]))
        if sets:
            st.caption(f"In gene sets of its module: {plain('; '.join(sets[:5]))}.")
    st.link_button("Gene card at NCBI", f"https://www.ncbi.nlm.nih.gov/gene/?term={gene}%5Bsym%5D+AND+human%5Borgn%5D")


def show_module(result: Result, source: sources.Source, number: int) -> None:
    """A module: its genes, its score on the map, what it means beside random genes."""
    modules = result.tables["modules"].set_index("module")
    row = modules.loc[number]
    named = "" if row["is_named"] else " (not named: no gene set beats random genes)"
    st.markdown(
        f"#### Module {number}: {plain(row['name'])}\n\n{plural(int(row['n_genes']), 'gene')}, "
        f"{plural(int(row['n_factors']), 'transcription factor')} · stability {row['stability']:.2f}{named}"
    )
    st.markdown(f"**Hubs:** {plain(row['hubs'])}")
    show_map(result, source, module=number)
    if "enrichment" not in result.tables:
        return
    sets = result.tables["enrichment"]
    sets = sets[sets["module"] == number]
    if not len(sets):
        st.caption("No gene set shares two genes with it.")
        return
    names = {
        "name": "Gene set",
        "n_overlap": "Genes",
        "n_set": "of",
        "fold": "Fold",
        "pvals_adj": "Adjusted p",
        "random": "Random as good",
        "genes": "Which",
    }
    shown = sets[list(names)].rename(columns=names)
    st.dataframe(
        shown,
        hide_index=True,
        height=_ROWS_HEIGHT,
        key=f"gene_modules-sets-{number}",
        column_config={
            "Adjusted p": st.column_config.NumberColumn(format="%.1e"),
            "Fold": st.column_config.NumberColumn(format="%.1f"),
            "Random as good": st.column_config.NumberColumn(
                format="percent", help="of 40 random sets of as many genes of like expression: how many enrich as much"
            ),
        },
    )


def links_of(result: Result, gene: str) -> pd.DataFrame:
    """The neighbours of a gene, the strongest first."""
    links = result.tables["links"]
    mine = links[(links["source"] == gene) | (links["target"] == gene)]
    other = mine["target"].where(mine["source"] == gene, mine["source"])
    return mine.assign(gene=other).sort_values("weight", ascending=False, kind="stable")


def edges_of(result: Result, gene: str) -> pd.DataFrame:
    """Edges from and to a gene in the network of transcription factors, the best first."""
    network = result.tables["network"]
    mine = network[(network["source"] == gene) | (network["target"] == gene)]
    is_source = mine["source"] == gene
    mine = mine.assign(gene=mine["target"].where(is_source, mine["source"]))
    mine["what"] = np.where(is_source, "target", "regulator")
    prior = st.session_state.get("gene_modules-prior")
    if prior is not None and len(mine):
        from scfviz.tasks.gene_modules.prior import mark_known

        mine["known"] = mark_known(mine, prior)["is_known"].to_numpy()
    order = mine["stability"] * mine["percentile"] * mine["weight"]
    return mine.iloc[np.argsort(-order.to_numpy(), kind="stable")]


def sets_of(result: Result, gene: str, module: int) -> list[str]:
    """Gene sets of a gene's module that hold it."""
    sets = result.tables["enrichment"]
    sets = sets[sets["module"] == module]
    has_it = [gene in str(genes).split(", ") for genes in sets["genes"]]
    return sets.loc[has_it, "name"].astype(str).tolist()


def _show_table(table: pd.DataFrame, names: dict[str, str], key: str) -> None:
    used = [name for name in names if name in table and not table[name].isna().all()]
    shown = table[used].head(_MOST_ROWS).rename(columns=names)
    numbers = [name for name in shown if pd.api.types.is_float_dtype(shown[name])]
    formats = {name: st.column_config.NumberColumn(format="%.2f") for name in numbers}
    st.dataframe(shown, hide_index=True, height=_ROWS_HEIGHT, key=key, column_config=formats)


def show_targets(result: Result, factor: str) -> None:
    """The likely targets of a regulator, with the evidence of every edge."""
    edges = edges_of(result, factor)
    _show_table(edges[edges["what"] == "target"], _EDGES, f"gene_modules-targets-{factor}")


def show_map(
    result: Result,
    source: sources.Source,
    *,
    gene: str | None = None,
    module: int | None = None,
    factor: str | None = None,
) -> None:
    """A gene's expression, a module's score or a regulator's activity on the cells' map.

    Without a map one is drawn first.
    """
    from scfviz.ui.drawing.cell_map import cell_map
    from scfviz.ui.explorer import data as explorer_data

    data = _explored(source)
    if data is None:
        return
    if gene is not None:
        store = explorer_data.known_store_job(source)
        folder = None if store is None else explorer_data.store_folder(store)
        if explorer_data.must_wait(data, folder):
            explorer_data.show_waiting(source)
            return
        values = explorer_data.gene_values(source, data, gene, folder)
        coloring = color_by_values(gene, _UNIT, values)
    else:
        title, unit, found = _column_of(result, module, factor)
        whole = np.full(max(int(data.shown.max()), int(result.kept.max())) + 1, np.nan, np.float32)
        whole[result.kept] = found
        coloring = color_by_values(title, unit, whole[data.shown])
    name = next(iter(data.maps))
    cell_map(
        {name: data.maps[name]},
        coloring,
        key="maps-gene-modules" if factor is None else "maps-gene-modules-regulator",
        height=_MAP_HEIGHT,
        titles={name: data.titles[name]},
        filename=gene or factor or f"module_{module}",
    )


def _column_of(result: Result, module: int | None, factor: str | None) -> tuple[str, str, np.ndarray]:
    """Title, unit and values, float32 (n_kept,), of a module's score or a regulator's activity."""
    if factor is None:
        return f"Module {module}", f"score, {_UNIT}", np.asarray(result.arrays["module_scores"][:, module - 1])
    number = result.tables["regulators"]["factor"].unique().tolist().index(factor)
    return (
        f"Activity of {factor}",
        words.activity_unit(result),
        np.asarray(result.arrays["regulator_activity"][:, number]),
    )


def _explored(source: sources.Source) -> "Explored | None":
    from scfviz.ui.explorer import data as explorer_data
    from scfviz.ui.explorer.maps import quick
    from scfviz.ui.tasks.embedding import known_job
    from scfviz.ui.tasks.request import finished_jobs

    embedded = known_job(source)
    embed_job = embedded.id if embedded is not None and embedded.state == "done" else None
    data = explorer_data.explore(source, embed_job, None, finished_jobs(source))
    return data if quick.offer(source, data, embed_job) else None
