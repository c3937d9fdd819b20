"""What simple methods and the combination expect of a cell: the share of each gene in its molecules.

A share is mixed with the counts that were seen: at a target depth T a cell of depth t with x counts of a gene is
expected to show x + share (T - t). So each method keeps what was measured, and all are compared at the same depth.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scfviz.analysis.baselines import VariableGenePca, find_neighbors
from scfviz.data.normalise import COUNTS_PER_CELL, log_normalise, log_values

if TYPE_CHECKING:
    from scfviz.tasks.enhancement.compute import Enhancer, Expect, Weights

NUMBERS_OF_NEIGHBORS = (5, 15, 30, 60, 120)
RANKS = (2, 5, 10, 20, 50)
SMALLEST_SHARE = 1e-12
FEWEST_SHARE = 0.05  # of the gene's mean in a share whose loss is computed: no share is zero for certain


# (rows, genes), cells and genes by their numbers -> expected shares, float64 (len(rows), len(genes))
Shares = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Neighbourhood:
    """Counts of cells, with the components, neighbours and clusters that the simple methods share.

    Parameters
    ----------
    counts
        Sparse (n_obs, n_genes), no cell without counts, at least 3 cells.
    """

    def __init__(self, counts: sparse.csr_matrix, *, seed: int = 0):
        self.counts, self.seed = counts, seed
        self.totals = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
        self.mean_shares = np.asarray(counts.sum(axis=0, dtype=np.float64)).ravel() / self.totals.sum()
        self._columns: tuple[np.ndarray, sparse.csr_matrix] | None = None
        self._of_genes: dict[str | int, np.ndarray | tuple[np.ndarray, ...]] = {}  # what was computed of these columns

    @cached_property
    def components(self) -> np.ndarray:
        """Principal components of ln(1 + counts per 10,000) of variable genes, float64 (n_obs, k), variance falling."""
        values = log_normalise(self.counts, self.totals)
        return VariableGenePca(seed=self.seed).fit(values).transform(values).astype(np.float64)

    @cached_property
    def neighbors(self) -> np.ndarray:
        """int64 (n_obs, k): the nearest other cells, nearest first."""
        return find_neighbors(self.components, max(NUMBERS_OF_NEIGHBORS))[0]

    @cached_property
    def clusters(self) -> np.ndarray:
        """int64 (n_obs,): Leiden cluster of each cell."""
        from scfviz.tasks.embedding.compute import cluster_cells

        near = self.neighbors[:, :15]
        rows = np.repeat(np.arange(len(near)), near.shape[1])
        graph = sparse.csr_matrix((np.ones(near.size), (rows, near.ravel())), shape=(len(near), len(near)))
        return cluster_cells(graph.maximum(graph.T), seed=self.seed).astype(np.int64)

    def columns(self, genes: np.ndarray) -> sparse.csr_matrix:
        """Counts of some genes in all cells, float64 (n_obs, len(genes)); those asked for last are kept."""
        if self._columns is None or not np.array_equal(self._columns[0], genes):
            self._columns, self._of_genes = (genes, self.counts[:, genes].astype(np.float64)), {}
        return self._columns[1]

    def gene_means(self, rows: np.ndarray, genes: np.ndarray) -> np.ndarray:
        """The same for every cell: the gene's share in all of them."""
        return np.tile(self.mean_shares[genes], (len(rows), 1))

    def input(self, rows: np.ndarray, genes: np.ndarray) -> np.ndarray:
        """The cell's own counts and nothing else."""
        return self.columns(genes)[rows].toarray() / self.totals[rows, None]

    def cluster_means(self, rows: np.ndarray, genes: np.ndarray) -> np.ndarray:
        """The gene's share in the cells of the same cluster."""
        columns = self.columns(genes)
        if "clusters" not in self._of_genes:
            member = sparse.csr_matrix((np.ones(len(self.clusters)), (self.clusters, np.arange(len(self.clusters)))))
            self._of_genes["clusters"] = (member @ columns).toarray() / (member @ self.totals)[:, None]
        return self._of_genes["clusters"][self.clusters[rows]]

    def smooth(self, n_neighbors: int) -> Shares:
        """The gene's share in a cell and its nearest others together."""

        def shares(rows: np.ndarray, genes: np.ndarray) -> np.ndarray:
            members = np.hstack([rows[:, None], self.neighbors[rows, :n_neighbors]])
            places = (np.repeat(np.arange(len(rows)), members.shape[1]), members.ravel())
            pool = sparse.csr_matrix((np.ones(members.size), places), shape=(len(rows), len(self.totals)))
            return (pool @ self.columns(genes)).toarray() / (pool @ self.totals)[:, None]

        return shares

    def low_rank(self, rank: int) -> Shares:
        """Values that the leading components explain, brought back to the gene's mean share."""

        def shares(rows: np.ndarray, genes: np.ndarray) -> np.ndarray:
            columns, scores = self.columns(genes), self.components[:, :rank]
            scores = scores - scores.mean(axis=0)
            if rank not in self._of_genes:
                self._of_genes[rank] = self._fit(columns, genes, scores)
            mean, loadings, scale = self._of_genes[rank]
            low = np.expm1(np.clip(mean + scores[rows] @ loadings.T, 0.0, 12.0)) / COUNTS_PER_CELL
            return low * scale

        return shares

    def _fit(self, columns: sparse.csr_matrix, genes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, ...]:
        values = log_normalise(columns, self.totals).astype(np.float64)
        mean = np.asarray(values.mean(axis=0)).ravel()
        # components have no correlation: each is fitted by itself
        loadings = (values.T @ scores) / np.maximum((scores**2).sum(axis=0), 1e-12)
        # over all cells: what is low-rank of the logarithm is biased on the scale of counts
        return mean, loadings, self._scale(genes, mean, scores, loadings)

    def _scale(self, genes: np.ndarray, mean: np.ndarray, scores: np.ndarray, loadings: np.ndarray) -> np.ndarray:
        sums = np.zeros(len(genes))
        for start in range(0, len(scores), 2048):
            block = np.clip(mean + scores[start : start + 2048] @ loadings.T, 0.0, 12.0)
            sums += np.expm1(block).sum(axis=0)
        of_fit = sums / (len(scores) * COUNTS_PER_CELL)
        return np.divide(self.mean_shares[genes], of_fit, out=np.ones(len(genes)), where=of_fit > 0)


def combined(
    enhancer: "Enhancer", target_depth: np.ndarray, weights: "Weights", expect: "Expect | None" = None
) -> Shares:
    """What the views of an `Enhancer` and the cell's own counts expect together: the mean of its gamma posterior."""

    def shares(rows: np.ndarray, genes: np.ndarray) -> np.ndarray:
        _, size, rate = enhancer.posterior(rows, target_depth, weights, expect, genes)
        return size / rate

    return shares


def values_at_depth(seen: np.ndarray, share: np.ndarray, depth: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Expected ln(1 + counts per 10,000) at a target depth.

    Parameters
    ----------
    seen, share
        (n, n_genes), counts and expected shares.
    depth, target
        (n,), counts per cell.
    """
    expected = seen + share * np.maximum(target - depth, 0.0)[:, None]
    return log_values(expected, np.maximum(target, depth)[:, None])


def poisson_loss(counts: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of counts without the part that no prediction changes, in nats; the same shape."""
    return means - counts * np.log(np.maximum(means, 1e-12))


def split_counts(
    counts: sparse.csr_matrix, share: float, rng: np.random.Generator
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """(the rest, a binomial share) of counts: independent where counts are Poisson.

    Source: Batson et al. 2019, doi:10.1101/786269.
    """
    part, rest = counts.copy(), counts.copy()
    part.data = rng.binomial(np.rint(counts.data).astype(np.int64), share).astype(counts.data.dtype)
    rest.data = counts.data - part.data
    part.eliminate_zeros()
    rest.eliminate_zeros()
    return rest, part


def shares_at_depth(seen: np.ndarray, share: np.ndarray, depth: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Expected shares in the molecules that are seen at a target depth; see `values_at_depth`."""
    target = np.maximum(target, depth)[:, None]
    return (seen + share * (target - depth[:, None])) / target


def loss_of(shares: np.ndarray, mean_shares: np.ndarray, counts: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Poisson loss of held-back counts (n, n_genes) of cells with `depth` held-back counts, given expected shares."""
    mixed = (1 - FEWEST_SHARE) * shares + FEWEST_SHARE * mean_shares
    return poisson_loss(counts, mixed * depth[:, None])
