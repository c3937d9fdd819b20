"""The one log-normalisation: ln(1 + counts per 10,000), computed in float64 and kept as float32."""

import numpy as np
import scipy.sparse as sp

COUNTS_PER_CELL = 1e4


def log_values(counts: np.ndarray, totals: np.ndarray | float) -> np.ndarray:
    """ln(1 + counts per 10,000) of single values.

    Parameters
    ----------
    counts
        Counts, any shape.
    totals
        Counts of the cell that each value is of, above zero; a number, or an array that fits `counts`.

    Returns
    -------
    float32 of the shape of `counts`.
    """
    return np.log1p(counts.astype(np.float64) * (COUNTS_PER_CELL / totals)).astype(np.float32)


def log_normalise(counts: sp.csr_matrix, totals: np.ndarray | None = None) -> sp.csr_matrix:
    """ln(1 + counts per 10,000) of cells.

    Parameters
    ----------
    counts
        (n_obs, n_genes): all genes of each cell, or some of them with `totals`.
    totals
        (n_obs,) counts of each cell over all its genes; the sum of its row when left out. A cell without counts stays
        zero.

    Returns
    -------
    csr_matrix
        float32, the same pattern of entries.
    """
    if totals is None:
        totals = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    of_cell = np.where(totals > 0, totals, 1.0)  # a cell without counts may hold stored zeros
    values = log_values(counts.data, np.repeat(of_cell, np.diff(counts.indptr)))
    return sp.csr_matrix((values, counts.indices, counts.indptr), shape=counts.shape)
