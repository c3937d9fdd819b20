"""Numbers of some cells, and perhaps of some genes, of a file: spread over all of them while they are written."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import h5py
import numpy as np
import scipy.sparse as sp

BLOCK_BYTES = 48 * 2**20
MAX_ROWS = 8192
CHUNK = (256, 1024)  # of a layer on disk: cells, genes
MOST_KNOWN_APART = 0.25  # share of a layer's genes with numbers up to which each of them has chunks of its own


@dataclass(frozen=True)
class SomeRows:
    """Numbers of some of the cells of a file, not known (NaN) for the others; written block by block.

    Attributes
    ----------
    values
        (k, d), dense or CSR; may lie on disk.
    place
        int64 (n_obs,): row of `values` for each cell of the file, -1 where there is none.
    columns
        int64 (n_vars,), for a layer: column of `values` for each gene of the file, -1 where there is none.
    """

    values: np.ndarray | sp.csr_matrix
    place: np.ndarray
    columns: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(n_obs, d), of a layer (n_obs, n_vars)."""
        return len(self.place), self.values.shape[1] if self.columns is None else len(self.columns)

    @property
    def is_sparse(self) -> bool:
        """Whether it is stored as CSR: a gene without numbers would fill a sparse matrix with NaN."""
        return sp.issparse(self.values) and (self.columns is None or bool((self.columns >= 0).all()))

    def take(self, cells: np.ndarray) -> "SomeRows":
        """The same numbers for some cells of the file."""
        return replace(self, place=self.place[cells])

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """(first cell, dense float32 values) in order, of bounded size."""
        genes = None if self.columns is None else np.flatnonzero(self.columns >= 0)
        for start, known in self.known_blocks(self.shape[1]):
            if genes is None:
                yield start, known
                continue
            block = np.full((len(known), self.shape[1]), np.nan, np.float32)
            block[:, genes] = known
            yield start, block

    def known_blocks(self, width: int) -> Iterator[tuple[int, np.ndarray]]:
        """The same without the genes that have no numbers; `width` of the rows decides the size of a block."""
        columns = slice(None) if self.columns is None else self.columns[self.columns >= 0]
        n_rows = block_rows(max(width, self.values.shape[1]))
        for start in range(0, len(self.place), n_rows):
            place = self.place[start : start + n_rows]
            is_known = place >= 0
            found = self.values[place[is_known]]
            found = found.toarray() if sp.issparse(found) else np.asarray(found)
            block = np.full((len(place), found[:0, columns].shape[1]), np.nan, np.float32)
            block[is_known] = found[:, columns]
            yield start, block


def block_rows(width: int) -> int:
    """How many rows of so many numbers are written at once."""
    return int(np.clip(BLOCK_BYTES // (4 * max(width, 1)), 1, MAX_ROWS))


def write_dense(group: h5py.Group, key: str, rows: SomeRows, written: Callable[[], None] = lambda: None) -> None:
    """Store the numbers as an array. Of a layer with few genes nothing is stored for the others: they read as NaN.

    Parameters
    ----------
    written
        Called after each block; may raise to stop.
    """
    n_obs, width = rows.shape
    if rows.columns is None or min(n_obs, width) == 0:
        target, genes = group.create_dataset(key, rows.shape, np.float32), None
    else:
        genes = np.flatnonzero(rows.columns >= 0)
        if len(genes) > MOST_KNOWN_APART * width:
            chunks, genes = (min(CHUNK[0], n_obs), min(CHUNK[1], width)), None
        else:
            chunks = (min(block_rows(rows.values.shape[1]), n_obs), 1)
        target = group.create_dataset(
            key,
            rows.shape,
            np.float32,
            chunks=chunks,
            fillvalue=np.nan,
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
    target.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    for start, block in rows.blocks() if genes is None else rows.known_blocks(1):
        stop = start + len(block)
        if genes is None:
            target[start:stop] = block
        else:
            for column, gene in enumerate(genes):
                target[start:stop, gene] = block[:, column]
        written()
