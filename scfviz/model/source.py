"""Where inference takes its cells from: an aligned dataset, or a sparse matrix in the model's gene order."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix, issparse

from scfviz.errors import DatasetError, GeneError

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts

_SAMPLED_ROWS = 256


class CellSource:
    """Cells that are read a window at a time.

    Parameters
    ----------
    counts
        An aligned dataset, or a sparse (n_obs, n_genes) matrix in the model's gene order.
    genes
        The model's genes in order.

    Attributes
    ----------
    n_obs
        Number of cells.
    n_expressed
        int64 of shape (n_obs,): expressed genes of each cell.
    totals
        float64 of shape (n_obs,): counts of each cell over the model's genes.
    names
        Names of the cells, `None` for a bare matrix.

    Raises
    ------
    DatasetError
        The matrix is not sparse, has another number of columns, or holds negative or infinite values.
    GeneError
        The dataset is aligned to the genes of another model.
    """

    def __init__(self, counts: "AlignedCounts | csr_matrix", genes: Sequence[str]):
        self.names: np.ndarray | None = None
        self.n_measured: int | None = None
        if hasattr(counts, "is_measured"):
            self._aligned, self._matrix = counts, None
            if len(counts.genes) != len(genes) or not np.array_equal(np.asarray(counts.genes, dtype=str), genes):
                raise GeneError(
                    f"The dataset is aligned to {len(counts.genes):,} genes that are not this model's {len(genes):,}.",
                    "Counts must be in the model's gene order.",
                    "Align the dataset again with `align_genes(adata, genes=model.genes)`.",
                )
            if np.any(getattr(counts, "is_other_species", False)):
                raise DatasetError(
                    f"{int(counts.is_other_species.sum()):,} of {counts.n_obs:,} cells are mouse cells.",
                    "Human cells are needed where a file holds both.",
                    "Leave them out: `aligned.subset(~aligned.is_other_species)`.",
                )
            self.n_obs = counts.n_obs
            self.n_expressed = np.asarray(counts.n_expressed, dtype=np.int64)
            self.totals = np.asarray(counts.total_counts, dtype=np.float64)
            self.names = counts.obs.index.to_numpy(dtype=str)
            self.n_measured = int(np.asarray(counts.is_measured).sum())
        else:
            self._aligned, self._matrix = None, _checked(counts, len(genes))
            self.n_obs = self._matrix.shape[0]
            self.n_expressed = np.diff(self._matrix.indptr).astype(np.int64)
            self.totals = np.asarray(self._matrix.sum(axis=1, dtype=np.float64)).ravel()

    def read(self, indices: np.ndarray) -> csr_matrix:
        """Read cells.

        Parameters
        ----------
        indices
            Ascending cell numbers.

        Returns
        -------
        csr_matrix
            (len(indices), n_genes) counts with sorted columns and without stored zeros.
        """
        start, stop = int(indices[0]), int(indices[-1]) + 1
        is_block = stop - start == len(indices)
        if self._matrix is not None:
            return self._matrix[start:stop] if is_block else self._matrix[indices]
        if is_block:
            return self._aligned.rows(start, stop)
        return self._aligned.subset(indices).rows(0, len(indices))

    def fingerprint(self) -> str:
        """16 hexadecimal digits that change with the cells, their order or their counts.

        Of an aligned dataset it takes the totals and numbers of expressed genes of all cells, and a sample of rows.
        """
        digest = hashlib.sha256()
        if self._matrix is not None:
            matrix = self._matrix
            for part in (matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data):
                digest.update(np.ascontiguousarray(part).data)
        else:
            for part in (self.totals, self.n_expressed, np.asarray(self._aligned.is_measured)):
                digest.update(np.ascontiguousarray(part).data)
            digest.update("\0".join(self.names).encode())
            for index in np.unique(np.linspace(0, self.n_obs - 1, min(_SAMPLED_ROWS, self.n_obs)).astype(np.int64)):
                row = self._aligned.rows(int(index), int(index) + 1)
                digest.update(row.indices.astype(np.int32).data)
                digest.update(row.data.data)
        return digest.hexdigest()[:16]


def _checked(counts: csr_matrix, n_genes: int) -> csr_matrix:
    """The same matrix in canonical form; the caller's own is not changed."""
    if not issparse(counts):
        raise DatasetError(
            f"The counts are a {type(counts).__name__}.",
            "They must be an aligned dataset or a sparse matrix of scipy.",
            "Call `align_genes` on the dataset, or wrap the array in `scipy.sparse.csr_matrix`.",
        )
    if counts.ndim != 2 or counts.shape[1] != n_genes or not counts.shape[0]:
        raise DatasetError(
            f"The matrix has the shape {counts.shape}.",
            f"One or more rows (cells) and {n_genes:,} columns (the model's genes) are needed.",
            "Call `align_genes` on the dataset.",
        )
    matrix = csr_matrix(counts, copy=False)
    if not np.isfinite(matrix.data).all() or (matrix.data < 0).any():
        raise DatasetError(
            "The matrix holds negative or non-finite values.",
            "Counts are zero or more.",
            "Use the raw counts of the dataset.",
        )
    if not matrix.has_canonical_format or not matrix.data.all():
        matrix = matrix.copy()
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
    return matrix
