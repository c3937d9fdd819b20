"""Which part of a network is drawn: at most some hundred genes, each module with its share, the user's own always."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scfviz.tasks.result import Result
from scfviz.ui.drawing.network import Disc, Edge, Network, Node, scale_sizes

MOST_NODES, MOST_EDGES, LINKS_PER_GENE = 300, 900, 4
LABELS_PER_MODULE = 5
FIRST, SECOND = "#0072b2", "#d55e00"  # edges stronger in one group, and in the other
_LEAST_DIFFERENCE = 3.0  # standard errors


@dataclass(frozen=True)
class Wanted:
    """What the visitor wants to see.

    Attributes
    ----------
    most
        Genes that are drawn at most.
    marked
        Genes that are drawn and ringed in any case.
    modules
        Only these; empty: all.
    only_factors
        Only edges from or to a transcription factor.
    sign
        0, or the one that edges must have.
    least_weight, least_stability
        0 to 1; weights are relative to the strongest.
    """

    most: int = MOST_NODES
    marked: tuple[str, ...] = ()
    modules: tuple[int, ...] = ()
    only_factors: bool = False
    sign: int = 0
    least_weight: float = 0.0
    least_stability: float = 0.0


def split_names(text: str) -> tuple[str, ...]:
    """Names that a visitor typed or pasted, each once."""
    return tuple(dict.fromkeys(text.replace(",", " ").replace(";", " ").split()))


def choose_genes(genes: pd.DataFrame, wanted: Wanted) -> np.ndarray:
    """Rows of the genes that are drawn: the marked ones, then from each module the most connected."""
    marked = genes["gene"].isin(wanted.marked).to_numpy()
    module = genes["module"].to_numpy()
    allowed = module > 0
    if wanted.modules:
        allowed &= np.isin(module, wanted.modules)
    order = np.lexsort((-genes["connectivity"].to_numpy(), module))
    order = order[allowed[order]]
    place = np.zeros(len(genes))
    sizes = np.bincount(module, minlength=module.max(initial=0) + 1)
    ranks = pd.Series(module[order]).groupby(module[order]).cumcount().to_numpy()
    # a module of four times the genes gets twice the places
    place[order] = (ranks + 1) / np.sqrt(sizes[module[order]])
    others = order[np.argsort(place[order], kind="stable")]
    others = others[~marked[others]]
    return np.sort(np.concatenate([np.flatnonzero(marked), others[: max(wanted.most - marked.sum(), 0)]]))


def module_network(result: Result, wanted: Wanted) -> Network:
    """Modules as communities: links between genes."""
    genes, links = result.tables["genes"], result.tables["links"]
    rows = choose_genes(genes, wanted)
    shown = set(genes["gene"].iloc[rows])
    factors = set(genes.loc[genes["is_factor"], "gene"])
    links = _strongest(links[links["source"].isin(shown) & links["target"].isin(shown)])
    top = float(links["weight"].max()) if len(links) else 1.0
    edges = _filter(
        [
            Edge(source, target, weight / top, stability)
            for source, target, weight, stability in links[["source", "target", "weight", "stability"]].itertuples(
                index=False
            )
        ],
        wanted,
        factors,
    )
    label = f"{len(rows):,} of {len(genes):,} genes in {genes['module'].max():,} modules"
    return _network(result, rows, edges, wanted, label)


def regulator_network(result: Result, wanted: Wanted, targets_per_factor: int = 6) -> Network:
    """Transcription factors and their best targets; edges have a direction and a sign."""
    genes, table = result.tables["genes"], result.tables["network"]
    if wanted.modules:
        inside = set(genes.loc[genes["module"].isin(wanted.modules), "gene"]) | set(wanted.marked)
        table = table[table["source"].isin(inside) & table["target"].isin(inside)]
    good = table[(table["percentile"] >= 0.9) & (table["stability"] >= wanted.least_stability)]
    if wanted.sign:
        good = good[good["sign"] == wanted.sign]
    good = good[good["weight"] >= wanted.least_weight]
    is_marked = good["source"].isin(wanted.marked) | good["target"].isin(wanted.marked)
    evidence = good["stability"] * good["percentile"] * good["weight"]
    good = good.assign(evidence=evidence, is_marked=is_marked)
    good = good.sort_values(["is_marked", "evidence"], ascending=False, kind="stable")
    rank = good.groupby("source").cumcount()
    good = good[(rank < targets_per_factor) | (good["is_marked"] & (rank < 30))]
    shown: set[str] = set(genes.loc[genes["gene"].isin(wanted.marked), "gene"])
    edges = []
    for row in good.itertuples():
        new = {row.source, row.target} - shown
        if len(shown) + len(new) > wanted.most:
            continue
        shown |= new
        edges.append(Edge(row.source, row.target, abs(row.weight), row.stability, int(row.sign)))
        if len(edges) >= MOST_EDGES:
            break
    rows = np.flatnonzero(genes["gene"].isin(shown).to_numpy())
    n_factors = len({edge.source for edge in edges})
    label = f"{n_factors:,} transcription factors and {len(rows) - n_factors:,} of their targets"
    return _network(result, rows, edges, wanted, label, is_directed=True, by_degree=True)


def difference_network(result: Result, first: str, second: str, wanted: Wanted) -> Network:
    """Pairs of genes that go together in one group of cells and not in the other."""
    genes, table = result.tables["genes"], compare_groups(result, first, second)
    if wanted.modules:
        inside = set(genes.loc[genes["module"].isin(wanted.modules), "gene"]) | set(wanted.marked)
        table = table[table["source"].isin(inside) | table["target"].isin(inside)]
    if wanted.only_factors:
        factors = set(genes.loc[genes["is_factor"], "gene"])
        table = table[table["source"].isin(factors) | table["target"].isin(factors)]
    shown: set[str] = set(genes.loc[genes["gene"].isin(wanted.marked), "gene"])
    edges, top = [], float(table["z"].abs().max()) if len(table) else 1.0
    for row in table.itertuples():
        new = {row.source, row.target} - shown
        if len(shown) + len(new) > wanted.most or len(edges) >= MOST_EDGES:
            continue
        shown |= new
        color = FIRST if row.z > 0 else SECOND
        edges.append(Edge(row.source, row.target, abs(row.z) / top, min(abs(row.z) / 6, 1.0), color=color))
    rows = np.flatnonzero(genes["gene"].isin(shown).to_numpy())
    label = f"{len(edges):,} links that differ between {first} and {second}"
    return _network(result, rows, edges, wanted, label, by_degree=True)


def compare_groups(result: Result, first: str, second: str) -> pd.DataFrame:
    """Pairs whose correlation differs by more than 3 standard errors: `source`, `target`, `first`, `second`, `z`.

    Metacells overlap: as many count as there are pools of 15 cells without overlap.
    """
    from scfviz.tasks.gene_modules.coexpression import CELLS_PER_METACELL

    compared, names = result.tables["compared"], result.tables["genes"]["gene"].to_numpy()
    place = {name: i for i, name in enumerate(compared["group"])}
    values = [np.asarray(result.arrays["group_similarity"][place[group]], np.float32) for group in (first, second)]
    sizes = [max(compared["n_cells"].iloc[place[group]] / CELLS_PER_METACELL, 4.0) for group in (first, second)]
    z = [np.arctanh(np.clip(value, -0.98, 0.98)) for value in values]
    error = np.sqrt(sum(1 / max(size - 3, 1) for size in sizes))
    difference = np.triu((z[0] - z[1]) / error, 1)
    rows, columns = np.nonzero(np.abs(difference) > _LEAST_DIFFERENCE)
    order = np.argsort(-np.abs(difference[rows, columns]), kind="stable")[:5_000]
    rows, columns = rows[order], columns[order]
    return pd.DataFrame(
        {
            "source": names[rows],
            "target": names[columns],
            "first": values[0][rows, columns],
            "second": values[1][rows, columns],
            "z": difference[rows, columns],
        }
    )


def _strongest(links: pd.DataFrame) -> pd.DataFrame:
    """Of links, the strongest first, those that are among the strongest few of either gene: no module goes bare."""
    both = pd.concat([links["source"], links["target"]], ignore_index=True)
    order = np.concatenate([np.arange(len(links))] * 2)
    rank = pd.Series(order).groupby(both.to_numpy()).rank(method="first").to_numpy().reshape(2, -1).min(axis=0)
    return links[rank <= LINKS_PER_GENE]


def _filter(edges: list[Edge], wanted: Wanted, factors: Collection[str]) -> list[Edge]:
    kept = [
        edge
        for edge in edges
        if edge.weight >= wanted.least_weight
        and edge.certainty >= wanted.least_stability
        and (not wanted.sign or edge.sign == wanted.sign)
        and (not wanted.only_factors or edge.source in factors or edge.target in factors)
    ]
    marked = set(wanted.marked)
    kept.sort(key=lambda edge: edge.source not in marked and edge.target not in marked)  # stable: strongest first
    return kept[:MOST_EDGES]


def _network(
    result: Result,
    rows: np.ndarray,
    edges: list[Edge],
    wanted: Wanted,
    label: str,
    *,
    is_directed: bool = False,
    by_degree: bool = False,
) -> Network:
    genes = result.tables["genes"].iloc[rows]
    sizes = scale_sizes(genes["connectivity"])
    if by_degree:
        degree = pd.Series([name for edge in edges for name in (edge.source, edge.target)]).value_counts()
        sizes = scale_sizes(genes["gene"].map(degree).fillna(0))
    with_label = _labelled(genes, sizes, by_degree)
    nodes = tuple(
        Node(gene, x, y, int(module), float(size), bool(factor), gene in wanted.marked, bool(labelled))
        for gene, x, y, module, size, factor, labelled in zip(
            *(genes[name] for name in ("gene", "x", "y", "module")), sizes, genes["is_factor"], with_label, strict=True
        )
    )
    return Network(nodes, tuple(edges), _discs(result, wanted), is_directed, label)


def _labelled(genes: pd.DataFrame, sizes: np.ndarray, by_degree: bool) -> np.ndarray:
    order = pd.Series(-sizes, index=genes.index)
    rank = order.groupby(genes["module"].to_numpy()).rank(method="first").to_numpy()
    return (rank <= LABELS_PER_MODULE * (1.5 if by_degree else 1)) & (sizes > 0)


def _discs(result: Result, wanted: Wanted) -> tuple[Disc, ...]:
    genes, modules = result.tables["genes"], result.tables["modules"]
    found = []
    for row in modules.itertuples():
        if wanted.modules and row.module not in wanted.modules:
            continue
        own = genes.loc[genes["module"] == row.module, ["x", "y"]].to_numpy(dtype=float)
        middle = own.mean(axis=0)
        radius = float(np.hypot(*(own - middle).T).max()) + 0.6
        found.append(Disc(int(row.module), str(row.name), float(middle[0]), float(middle[1]), radius))
    return tuple(found)
