"""What the cells around a cell say: counts of others, weighed by a walk over the graph of neighbours."""

from functools import cached_property

import numpy as np
from scipy import sparse

from scfviz.analysis.baselines import DIFFUSION_STEPS, diffusion_step, walk_from
from scfviz.data.normalise import log_normalise

_GENES_AT_ONCE = 2000
_BLOCK_BYTES = 200_000_000  # of dense counts that are mixed together


class Surroundings:
    """The walk of `smooth_cells` over some cells, and the counts that it gathers.

    Parameters
    ----------
    counts
        Sparse (n_obs, n_genes), whole numbers.
    totals
        float64 (n_obs,), counts per cell.
    seed
        Of the principal components in which neighbours are found.
    """

    def __init__(self, counts: sparse.csr_matrix, totals: np.ndarray, *, seed: int = 0):
        self.counts, self.totals, self.seed = counts, totals, seed
        self._columns: tuple[np.ndarray, sparse.csr_matrix] | None = None
        self._smoothed: tuple[np.ndarray, np.ndarray] | None = None

    @cached_property
    def step(self) -> sparse.csr_matrix:
        """(n_obs, n_obs), see `diffusion_step`."""
        return diffusion_step(log_normalise(self.counts, self.totals), seed=self.seed)

    def walk(self, rows: np.ndarray) -> sparse.csr_matrix:
        """(n, n_obs), rows of the walk of `smooth_cells`; of all cells at once it would be large."""
        return walk_from(self.step, rows)

    def counts_of(self, genes: np.ndarray) -> sparse.csr_matrix:
        """Counts of some genes in all cells, float64 (n_obs, len(genes)); those asked for last are kept."""
        if self._columns is None or not np.array_equal(self._columns[0], genes):
            self._columns = genes, self.counts[:, genes].astype(np.float64)
        return self._columns[1]

    def smooth_all(self, genes: np.ndarray, into: np.ndarray) -> None:
        """Gather the counts of some genes over the walk of all cells at once, for sums that are asked for later.

        In a large dataset a walk reaches thousands of cells, and cell by cell its product with the counts costs in
        proportion; its three steps one after the other, with all cells, need a small part of the products.

        Parameters
        ----------
        genes
            int (n_genes,).
        into
            float32 (n_obs, n_genes), filled; may lie on disk. It is read as long as these genes are asked for.
        """
        at_once = max(1, _BLOCK_BYTES // (8 * len(self.totals)))
        for start in range(0, len(genes), at_once):
            block = self.counts[:, genes[start : start + at_once]].toarray().astype(np.float64)
            for _ in range(DIFFUSION_STEPS):
                block = self.step @ block
            into[:, start : start + at_once] = block
        self._smoothed = genes, into

    def sums(self, rows: np.ndarray, own: np.ndarray, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Counts of genes in the cells around each cell but not in itself, and all counts of these cells.

        Parameters
        ----------
        rows
            int (n,), which cells.
        own
            float64 (n, len(genes)), their own counts of the genes.

        Returns
        -------
        tuple
            float64 (n, len(genes)) and (n, 1): of as many cells as would say the same with equal weights.
        """
        walk = self.walk(rows)
        itself = walk[np.arange(len(rows)), rows].A1
        others = walk - sparse.csr_matrix((itself, (np.arange(len(rows)), rows)), walk.shape)
        weight = np.asarray(others.sum(axis=1)).ravel()
        scale = (1 / np.where(weight > 1e-12, weight, np.inf))[:, None]
        n_cells = 1 / np.maximum(np.asarray(others.multiply(others).sum(axis=1)) * scale**2, 1e-9)
        if self._smoothed is not None and np.array_equal(self._smoothed[0], genes):
            near = np.maximum(self._smoothed[1][rows] - itself[:, None] * own, 0.0)
        else:
            near = self._gather(others, genes)
        return near * scale * n_cells, (others @ self.totals)[:, None] * scale * n_cells

    def _gather(self, weights: sparse.csr_matrix, genes: np.ndarray) -> np.ndarray:
        """Weighted sums of counts of some genes over cells, float64 (n, len(genes))."""
        if self._columns is not None and np.array_equal(self._columns[0], genes):
            return (weights @ self._columns[1]).toarray()
        blocks = (genes[start : start + _GENES_AT_ONCE] for start in range(0, len(genes), _GENES_AT_ONCE))
        return np.hstack([(weights @ self.counts[:, block].astype(np.float64)).toarray() for block in blocks])
