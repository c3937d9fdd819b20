"""Co-expression: correlation of genes over overlapping metacells, each a cell with its nearest neighbours.

Source of the idea: Morabito et al. 2023, doi:10.1016/j.crmeth.2023.100498 (hdWGCNA).
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from scfviz.data.normalise import log_values
from scfviz.tasks.gene_modules.genes import neighbor_graph

CELLS_PER_METACELL = 15
MOST_METACELLS = 2_000


@dataclass(frozen=True)
class Metacells:
    """Overlapping pools of cells.

    Attributes
    ----------
    values
        float32 (n_metacells, n_genes), ln(1 + counts per 10,000) of the added counts.
    seeds
        int64 (n_metacells,): the cell in the middle of each, ascending.
    """

    values: np.ndarray
    seeds: np.ndarray


def pool_cells(
    counts: sparse.csr_matrix,
    totals: np.ndarray,
    components: np.ndarray,
    keys: np.ndarray,
    k: int = CELLS_PER_METACELL,
) -> Metacells:
    """Add the counts of each cell and its nearest neighbours.

    Parameters
    ----------
    counts
        (n_obs, n_genes) of the chosen genes.
    totals
        float64 (n_obs,): counts of each cell over all genes.
    components
        (n_obs, k): where neighbours are looked for.
    keys
        uint64 (n_obs,), see `cell_keys`: which cells are middles, where there are more than 2,000.
    """
    n_obs = counts.shape[0]
    seeds = np.arange(n_obs)
    if n_obs > MOST_METACELLS:
        seeds = np.sort(np.argsort(keys, kind="stable")[:MOST_METACELLS])
    graph = neighbor_graph(components, min(k, max(n_obs // 4, 2)))[seeds]
    pooled = (graph @ counts).toarray()
    depth = graph @ totals
    return Metacells(log_values(pooled, depth[:, None]), seeds)


def correlate(values: np.ndarray) -> np.ndarray:
    """Pearson correlation between columns, float32 (n_genes, n_genes); 0 for a gene that does not vary."""
    centered = values - values.mean(axis=0, keepdims=True)
    length = np.linalg.norm(centered, axis=0)
    scaled = np.divide(centered, length, out=np.zeros_like(centered), where=length > 1e-6)
    return np.clip(scaled.T @ scaled, -1, 1)
