"""Simple methods that every prediction is shown beside. None of them knows a model."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scfviz.errors import DatasetError

if TYPE_CHECKING:
    import pandas as pd

N_NEIGHBORS = 15
N_TOP_GENES, N_COMPS = 2000, 50
DIFFUSION_STEPS, BANDWIDTH_NEIGHBOR = 3, 5


@dataclass(frozen=True)
class Cells:
    """Some cells of a dataset, in memory.

    Attributes
    ----------
    name
        Of the dataset.
    counts
        Sparse float32 (n_obs, n_genes), raw counts in the model's gene order, no cell without counts.
    is_measured
        bool (n_genes,).
    obs
        Table of the cells.
    labels
        object (n_obs,): known cell types, `None` where unknown.
    n_available
        Cells in the file; more than `n_obs` where they are a random sample.
    """

    name: str
    counts: sparse.csr_matrix
    is_measured: np.ndarray
    obs: "pd.DataFrame"
    labels: np.ndarray
    n_available: int

    @property
    def n_obs(self) -> int:
        """Number of cells."""
        return self.counts.shape[0]

    @cached_property
    def totals(self) -> np.ndarray:
        """Counts per cell, float64 (n_obs,)."""
        return np.asarray(self.counts.sum(axis=1, dtype=np.float64)).ravel()

    @cached_property
    def values(self) -> sparse.csr_matrix:
        """ln(1 + counts per 10,000), float32 (n_obs, n_genes)."""
        from scfviz.data.normalise import log_normalise

        return log_normalise(self.counts, self.totals)

    def take(self, indices: np.ndarray) -> "Cells":
        """Only these cells, in this order."""
        return Cells(
            self.name,
            self.counts[indices],
            self.is_measured,
            self.obs.iloc[indices],
            self.labels[indices],
            self.n_available,
        )


def choose_variable_genes(
    values: sparse.csr_matrix | Iterable[sparse.csr_matrix], n_top_genes: int = N_TOP_GENES
) -> np.ndarray:
    """Columns of the most variable genes, ascending; all that vary where there are fewer, so perhaps none.

    Parameters
    ----------
    values
        (n_obs, n_genes), ln(1 + counts per 10,000); or its rows in pieces, of which one is held at a time.

    Source: scanpy's default criterion, after Satija et al. 2015, doi:10.1038/nbt.3192.
    """
    n_obs, sums = 0, 0.0
    for piece in _pieces([values] if sparse.issparse(values) else values):
        logs, raw = piece.astype(np.float64), piece.expm1().astype(np.float64)
        powers = (logs, logs.power(2), raw, raw.power(2))
        sums = sums + np.stack([np.asarray(part.sum(axis=0)).ravel() for part in powers])
        n_obs += piece.shape[0]
    log_mean, log_square, mean, square = sums / n_obs
    genes = np.flatnonzero(log_square - log_mean**2 > 1e-10 * log_mean**2)  # rounding alone is no variation
    if len(genes) > n_top_genes:
        variance = (square[genes] - mean[genes] ** 2) * n_obs / (n_obs - 1)
        dispersion = _scaled_dispersion(mean[genes], variance)
        genes = genes[dispersion >= np.sort(dispersion)[-n_top_genes]]
    return genes


def _pieces(values: Iterable[sparse.csr_matrix], n_rows: int = 1_000) -> Iterator[sparse.csr_matrix]:
    for rows in map(sparse.csr_matrix, values):
        yield from (rows[at : at + n_rows] for at in range(0, rows.shape[0], n_rows))


def _scaled_dispersion(mean: np.ndarray, variance: np.ndarray, n_bins: int = 20) -> np.ndarray:
    """Log dispersion of each gene, standardised among genes of about the same mean; 1 for a gene without its like."""
    import pandas as pd

    dispersion = pd.Series(np.log(variance / mean))
    alike = dispersion.groupby(pd.cut(np.log1p(mean), n_bins), observed=True)
    spread = alike.transform("std")
    return np.where(spread.isna(), 1.0, (dispersion - alike.transform("mean")) / spread)


def find_components(values: sparse.csr_matrix, n_comps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal components: loadings (n_genes, k) and what to subtract (k,), float64; `values @ loadings - shift`.

    Parameters
    ----------
    values
        (n_obs, n_genes), at least 2 cells and 2 genes; k is at most one less than either.
    """
    import anndata as ad
    import scanpy as sc

    part = ad.AnnData(values.astype(np.float64))
    n_comps = min(n_comps, part.n_obs - 1, part.n_vars - 1)
    # ARPACK gives the leading components from the sparse matrix; its start vector comes from the seed
    sc.pp.pca(part, n_comps=n_comps, svd_solver="arpack", random_state=seed, dtype="float64")
    loadings = part.varm["PCs"]
    return loadings, np.asarray(part.X.mean(axis=0)).ravel() @ loadings


class VariableGenePca:
    """Variable genes and principal components, learned on some cells and applied to others.

    Parameters
    ----------
    n_top_genes
        Most variable genes to keep (scanpy's default criterion).
    n_comps
        Principal components; fewer for fewer cells or genes.

    Source: scanpy (Wolf et al. 2018, doi:10.1186/s13059-017-1382-0).
    """

    def __init__(self, n_top_genes: int = N_TOP_GENES, n_comps: int = N_COMPS, seed: int = 0):
        self.n_top_genes, self.n_comps, self.seed = n_top_genes, n_comps, seed
        self.genes = np.empty(0, dtype=np.int64)
        self._loadings, self._shift = np.empty((0, 0)), np.empty(0)

    def fit(self, values: sparse.csr_matrix) -> "VariableGenePca":
        """Learn from cells.

        Parameters
        ----------
        values
            (n_obs, n_genes), ln(1 + counts per 10,000); at least 3 cells.

        Raises
        ------
        DatasetError
            There are fewer than 3 cells, or fewer than 2 genes differ between them.
        """
        genes = choose_variable_genes(values, self.n_top_genes)
        if values.shape[0] < 3 or len(genes) < 2:
            raise DatasetError(
                f"{values.shape[0]:,} cells in which {len(genes):,} genes differ.",
                "Principal components need at least 3 cells and 2 genes that differ between them.",
                "Use a larger dataset.",
            )
        self.genes = genes
        self._loadings, self._shift = find_components(values[:, genes], self.n_comps, self.seed)
        return self

    def transform(self, values: sparse.csr_matrix) -> np.ndarray:
        """Principal components of cells, float32 (n_obs, n_comps)."""
        return (values[:, self.genes] @ self._loadings - self._shift).astype(np.float32)


class OtherCells:
    """What other cells of a dataset say about entries of a cell; the cell itself is never among them.

    Two means are given: the plain one, and one in which expressed entries weigh more than zeros by the odds with which
    entries were chosen. The latter is the best guess of who knows how they were chosen, as a model does that was
    trained in the same way.

    Parameters
    ----------
    values
        (n_obs, n_genes), ln(1 + counts per 10,000), complete.
    odds
        How many times likelier than a zero an expressed entry is to be asked for.
    groups
        int (n_obs,), only cells of the same group count; all cells when left out.
    """

    def __init__(self, values: sparse.csr_matrix, odds: float, groups: np.ndarray | None = None):
        n_obs = values.shape[0]
        self._values, self._expressed, self._odds = values, values.astype(bool).astype(np.float32), odds
        self._groups = np.zeros(n_obs, dtype=np.int64) if groups is None else groups
        self._sizes = np.bincount(self._groups)
        member = sparse.csr_matrix((np.ones(n_obs), (self._groups, np.arange(n_obs))))
        self._sums = (member @ values).toarray()
        self._n_expressed = (member @ self._expressed).toarray()

    def mean(self, cell: int, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Plain and weighted mean of genes over the other cells of the group, float64 (M,) each.

        A cell alone in its group takes all others.
        """
        own, group = self._values[cell].toarray().ravel()[genes], self._groups[cell]
        sums, n_expressed, size = self._sums[group], self._n_expressed[group], self._sizes[group]
        if size < 2:
            sums, n_expressed, size = self._sums.sum(axis=0), self._n_expressed.sum(axis=0), len(self._groups)
        return self._both(sums[genes] - own, n_expressed[genes] - (own > 0), size - 1)

    def mean_of(self, cells: np.ndarray, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same over the given cells, for example neighbours."""
        sums = np.asarray(self._values[cells].sum(axis=0, dtype=np.float64)).ravel()[genes]
        n_expressed = np.asarray(self._expressed[cells].sum(axis=0, dtype=np.float64)).ravel()[genes]
        return self._both(sums, n_expressed, len(cells))

    def _both(self, sums: np.ndarray, n_expressed: np.ndarray, n_cells: int) -> tuple[np.ndarray, np.ndarray]:
        return sums / n_cells, self._odds * sums / (self._odds * n_expressed + n_cells - n_expressed)


def find_neighbors(points: np.ndarray, n_neighbors: int = N_NEIGHBORS) -> tuple[np.ndarray, np.ndarray]:
    """Nearest other cells, Euclidean.

    Returns
    -------
    tuple
        int64 (n_obs, k) cell numbers, nearest first and without the cell itself; float64 (n_obs, k) distances.
        k is `n_neighbors`, or the number of other cells where that is smaller.
    """
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=min(n_neighbors, len(points) - 1)).fit(points)
    distances, neighbors = search.kneighbors()  # without an argument a point is no neighbour of itself
    return neighbors.astype(np.int64), distances


def smooth_cells(values: sparse.csr_matrix, *, seed: int = 0) -> sparse.csr_matrix:
    """Share expression among similar cells by diffusion over their neighbour graph.

    Distances in the principal components become affinities exp(-d / distance of the 5th neighbour); affinities are made
    symmetric and each row sums to one; three steps of the random walk mix the values.

    Parameters
    ----------
    values
        (n_obs, n_genes), ln(1 + counts per 10,000), at least 3 cells.

    Returns
    -------
    csr_matrix
        (n_obs, n_obs), the weights of the walk; times `values` gives the smoothed values.

    Source: after MAGIC, van Dijk et al. 2018, doi:10.1016/j.cell.2018.05.061.
    """
    step = diffusion_step(values, seed=seed)
    return walk_from(step, np.arange(step.shape[0]))


def walk_from(step: sparse.csr_matrix, cells: np.ndarray) -> sparse.csr_matrix:
    """Rows of the walk of `smooth_cells`, (len(cells), n_obs), from one step of it: of many cells, a few at a time."""
    walk = step[cells]
    for _ in range(DIFFUSION_STEPS - 1):
        walk = walk @ step
    return sparse.csr_matrix(walk)


def diffusion_step(values: sparse.csr_matrix, *, seed: int = 0) -> sparse.csr_matrix:
    """One step of the random walk of `smooth_cells`, (n_obs, n_obs); each row sums to one."""
    neighbors, distances = find_neighbors(VariableGenePca(seed=seed).fit(values).transform(values))
    n_obs, k = neighbors.shape
    width = np.maximum(distances[:, min(BANDWIDTH_NEIGHBOR, k) - 1], 1e-12)
    affinity = np.exp(-distances / width[:, None])
    rows = np.repeat(np.arange(n_obs), k)
    graph = sparse.csr_matrix((affinity.ravel(), (rows, neighbors.ravel())), shape=(n_obs, n_obs))
    graph = graph + graph.T + 2 * sparse.eye(n_obs)
    return sparse.csr_matrix(sparse.diags(1 / np.asarray(graph.sum(axis=1)).ravel()) @ graph)
