"""Gene modules and a regulatory network of any cells, in one go."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scfviz.errors import OptionError
from scfviz.tasks.gene_modules import genes as choosing
from scfviz.tasks.gene_modules.coexpression import Metacells, correlate, pool_cells
from scfviz.tasks.gene_modules.contexts import Contexts, context_spread, embed_contexts
from scfviz.tasks.gene_modules.genes import ChosenGenes
from scfviz.tasks.gene_modules.layout import place_genes
from scfviz.tasks.gene_modules.meaning import Meaning, enrich_modules
from scfviz.tasks.gene_modules.modules import Modules, find_modules
from scfviz.tasks.gene_modules.network import fit_trees, infer_edges
from scfviz.tasks.gene_modules.similarity import Cells, Links, link_genes

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

    from scfviz.data.align import AlignedCounts
    from scfviz.model.scfoundation import ScFoundation

MOST_COMPARED, FEWEST_COMPARED = 12, 30  # groups with an own network, and cells that they need


@dataclass(frozen=True)
class Prepared:
    """Cells and genes before anything is linked.

    Attributes
    ----------
    cells
        Up to 20,000 cells, chosen genes.
    rows
        int64: which of the dataset's cells they are.
    genes
        The chosen ones.
    pool, pool_names, pool_mean
        Positions, names and mean expression of all expressed genes.
    notes
        What there was to say.
    """

    cells: Cells
    rows: np.ndarray
    genes: ChosenGenes
    pool: np.ndarray
    pool_names: np.ndarray
    pool_mean: np.ndarray
    notes: tuple[str, ...]


@dataclass(frozen=True)
class GeneModules:
    """Modules, links and regulators of genes.

    Attributes
    ----------
    genes
        One row per gene that takes part: `gene`, `module` (0: none), `is_factor`, `is_own`, `mean`, `share`,
        `connectivity`, `stability`, `spread` (variance of its context over cells), `x`, `y`.
    links
        One row per pair of linked genes: `source`, `target`, `weight` (expected correlation), views, `stability`.
    modules
        What was found, see `scfviz.tasks.gene_modules.modules.Modules`.
    network
        From transcription factors to targets, see `scfviz.tasks.gene_modules.network.NETWORK_COLUMNS`.
    meaning
        Gene sets of the modules; None without modules.
    prepared, similarity
        What it was computed from.
    group_similarity
        float16 (n_groups, n_genes, n_genes): co-expression within each of `group_names`, of `group_sizes` cells.
    notes
        What there was to say.
    """

    genes: "pd.DataFrame"
    links: "pd.DataFrame"
    modules: Modules
    network: "pd.DataFrame"
    meaning: Meaning | None
    prepared: Prepared
    similarity: Links
    group_similarity: np.ndarray
    group_names: tuple[str, ...]
    group_sizes: tuple[int, ...]
    notes: tuple[str, ...]

    def graph(self) -> "nx.Graph":
        """The links between genes as a graph; nodes and edges carry the columns of the tables."""
        from scfviz.tasks.gene_modules.export import gene_graph

        return gene_graph(self.genes, self.links)

    def regulators(self) -> "nx.DiGraph":
        """The network of transcription factors and targets; edges carry their evidence."""
        from scfviz.tasks.gene_modules.export import regulator_graph

        return regulator_graph(self.genes, self.network)


def find_gene_modules(
    counts: "AlignedCounts",
    model: "ScFoundation | None" = None,
    *,
    groups: "Sequence[str] | np.ndarray | None" = None,
    genes: Sequence[str] | None = None,
    choice: str = "variable",
    n_genes: int = 800,
    view: str | None = None,
    most_cells: int = 300,
    resolution: float | None = None,
    trees: bool = True,
    seed: int = 0,
    **inference: Any,
) -> GeneModules:
    """Find modules of genes that go together, and likely targets of transcription factors.

    Parameters
    ----------
    counts
        The cells; in the model's gene order where there is a model.
    model
        Whose context embeddings are a view; None leaves co-expression.
    groups
        (n_obs,) group of each cell; clusters are found when left out.
    genes, choice, n_genes, view, most_cells, resolution, trees, seed
        See `scfviz.tasks.gene_modules.options.GeneModulesOptions`; `view` is the combination where there is a model.
    **inference
        `precision`, `device`, `out`, `progress`, `should_stop`, `cluster` of `embed_contexts`.

    Raises
    ------
    DatasetError, GeneError, OptionError
        Too few cells or genes, or options that mean nothing.
    """
    view = view or ("coexpression" if model is None else "combination")
    if model is None and view != "coexpression":
        raise OptionError(f"The view '{view}' needs a model.", "", "Give a model, or choose 'coexpression'.")
    prepared = prepare(counts, groups=groups, genes=genes, choice=choice, n_genes=n_genes, seed=seed)
    contexts = None
    if view != "coexpression":
        contexts = read_contexts(counts, model, prepared, most_cells=most_cells, seed=seed, **inference)
    return analyse(prepared, contexts, view=view, resolution=resolution, trees=trees, seed=seed)


def infer_network(counts: "AlignedCounts", model: "ScFoundation | None" = None, **options: Any) -> "nx.DiGraph":
    """The regulatory network alone, as a graph whose edges carry weight, sign, views, percentile and stability.

    Parameters
    ----------
    counts, model, **options
        See `find_gene_modules`.
    """
    return find_gene_modules(counts, model, **options).regulators()


def prepare(
    counts: "AlignedCounts",
    *,
    groups: "Sequence[str] | np.ndarray | None",
    genes: Sequence[str] | None,
    choice: str,
    n_genes: int,
    seed: int,
) -> Prepared:
    """Choose cells, genes and groups; see `find_gene_modules`."""
    from scfviz.data.normalise import log_normalise

    choosing.refuse_few_cells(counts.n_obs)
    given = None if groups is None else np.asarray(groups).astype(str)
    labels = np.zeros(counts.n_obs, dtype="<U1") if given is None else given
    names = counts.obs.index.to_numpy(dtype=str)
    rows = choosing.sample_cells(labels, choosing.cell_keys(names, seed, "express"), choosing.MOST_EXPRESSION_CELLS)
    matrix = choosing.read_counts(counts, rows)
    totals = np.asarray(matrix.sum(axis=1, dtype=np.float64)).ravel()
    rows, matrix, totals = rows[totals > 0], matrix[totals > 0], totals[totals > 0]
    choosing.refuse_few_cells(len(rows))
    values = log_normalise(matrix, totals)
    chosen, notes = choosing.choose_genes(
        values, counts.genes, counts.is_measured, choice=choice, n_genes=n_genes, own=genes, index=counts.index
    )
    components, clusters = choosing.find_groups(values[:, chosen.positions], seed)
    used = clusters if given is None else given[rows]
    n_cells = np.asarray((values > 0).sum(axis=0)).ravel()
    pool = np.union1d(np.flatnonzero(n_cells >= max(3, 0.01 * len(rows))), chosen.positions)
    mean = np.asarray(values.mean(axis=0, dtype=np.float64)).ravel()
    keys, quarter = (choosing.cell_keys(names[rows], seed, use) for use in ("middles", "quarters"))
    cells = Cells(matrix[:, chosen.positions].tocsr(), totals, components, used, keys, choosing.quarters_of(quarter))
    if len(rows) < counts.n_obs:
        notes = (*notes, f"Expression is that of {len(rows):,} of the {counts.n_obs:,} cells, every group's share.")
    pool_names = np.asarray(counts.genes)[pool].astype(str)
    return Prepared(cells, rows, chosen, pool, pool_names, mean[pool], notes)


def read_contexts(
    counts: "AlignedCounts",
    model: "ScFoundation",
    prepared: Prepared,
    *,
    most_cells: int,
    seed: int,
    precision: str = "auto",
    device: str = "auto",
    out: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    cluster: str | None = None,
) -> Contexts:
    """The model's contexts in the quarters of a sample of the cells."""
    cells = prepared.cells
    part = choosing.sample_cells(cells.groups, choosing.cell_keys(cells.keys.astype(str), seed, "contexts"), most_cells)
    quarter = cells.quarter[part]
    if len(np.unique(quarter)) < 4:
        quarter = np.arange(len(part)) % 4
    return embed_contexts(
        counts.subset(prepared.rows[part]),
        model,
        prepared.genes.positions,
        quarter,
        precision=precision,
        device=device,
        out=out,
        progress=progress,
        should_stop=should_stop,
        cluster=cluster,
    )


def analyse(
    prepared: Prepared,
    contexts: Contexts | None,
    *,
    view: str,
    resolution: float | None,
    trees: bool,
    seed: int,
    step: Callable[[float, str], Any] = lambda share, stage: nullcontext(),
) -> GeneModules:
    """Link genes, find modules, regulators and their meaning; see `find_gene_modules`.

    Parameters
    ----------
    step
        Begins a stage, given the share done and its name; a context.
    """
    import pandas as pd

    from scfviz.analysis.gene_sets import load_gene_ontology

    genes, cells = prepared.genes, prepared.cells
    with step(0.0, "Linking the genes"):
        links = link_genes(cells, contexts, view=view, seed=seed)
    with step(0.35, "Finding modules, again in halves of the cells"):
        found = find_modules(links.combined, links.resampled, resolution=resolution, seed=seed)
        places = place_genes(found.graph, found.module, seed)
    pools = pool_cells(cells.counts, cells.totals, cells.components, cells.keys)
    factors = np.flatnonzero(genes.is_factor)
    with step(0.5, "Finding targets of transcription factors"):
        boosted = fit_trees(pools.values, factors, seed) if trees and len(factors) else None
        network = infer_edges(
            genes.names,
            factors,
            genes.is_factor,
            genes.mean,
            links.views,
            links.combined,
            links.resampled,
            boosted,
        )
    with step(0.8, "Looking for what the modules mean"):
        meaning = None
        if found.n_modules:
            meaning = enrich_modules(
                found.module, genes.names, prepared.pool_names, prepared.pool_mean, load_gene_ontology(), seed=seed
            )
    table = pd.DataFrame(
        {
            "gene": genes.names,
            "module": found.module,
            "is_factor": genes.is_factor,
            "is_own": genes.is_own,
            "mean": genes.mean,
            "share": genes.share,
            "connectivity": found.connectivity,
            "stability": found.stability,
            "spread": np.nan if contexts is None else context_spread(contexts),
            "x": places[:, 0],
            "y": places[:, 1],
        }
    )
    within, compared, sizes = _within_groups(pools, cells.groups)
    return GeneModules(
        table,
        _link_table(genes.names, found, links),
        found,
        network,
        meaning,
        prepared,
        links,
        within,
        compared,
        sizes,
        prepared.notes,
    )


def _link_table(names: np.ndarray, found: Modules, links: Links) -> "pd.DataFrame":
    """One row per link of the graph, the strongest first."""
    import pandas as pd

    graph = sparse.triu(found.graph, 1).tocoo()
    rows, columns = graph.row, graph.col
    again = [found_again[rows, columns] > 0.5 * graph.data for found_again in links.resampled]
    table = {"source": names[rows], "target": names[columns], "weight": graph.data.astype(np.float64)}
    table |= {f"r_{name}": view[rows, columns].astype(np.float64) for name, view in links.views.items()}
    table["stability"] = np.mean(again, axis=0) if again else np.zeros(len(rows))
    table["within_module"] = (found.module[rows] == found.module[columns]) & (found.module[rows] > 0)
    return pd.DataFrame(table).sort_values("weight", ascending=False, kind="stable", ignore_index=True)


def _within_groups(pools: Metacells, groups: np.ndarray) -> tuple[np.ndarray, tuple[str, ...], tuple[int, ...]]:
    """Co-expression within each group that has enough cells, and how many they are."""
    of_pool = groups[pools.seeds]
    names, sizes = np.unique(groups, return_counts=True)
    enough = [i for i in np.argsort(-sizes, kind="stable") if sizes[i] >= FEWEST_COMPARED][:MOST_COMPARED]
    n_genes = pools.values.shape[1]
    found = np.zeros((len(enough), n_genes, n_genes), dtype=np.float16)
    for place, i in enumerate(enough):
        found[place] = correlate(pools.values[of_pool == names[i]])
    return found, tuple(str(names[i]) for i in enough), tuple(int(sizes[i]) for i in enough)
