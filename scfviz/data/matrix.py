"""Cells x genes matrices in memory or on disk, always handed out as sparse blocks of rows."""

from collections.abc import Iterator

import h5py
import numpy as np
import scipy.sparse as sp
from anndata.abc import CSCDataset, CSRDataset

from scfviz.errors import DatasetError

# A matrix below this size is read into memory; above, it stays on disk and is streamed.
IN_MEMORY_BYTES = 384 * 2**20
BLOCK_BYTES = 48 * 2**20
MAX_ROWS = 8192


class SummedMatrix:
    """The sum of matrices of one shape, made for the rows that are asked for."""

    def __init__(self, parts: list):
        self.parts = parts
        self.shape = tuple(parts[0].shape)
        self.dtype = np.result_type(*(np.dtype(part.dtype) for part in parts))

    def __getitem__(self, rows: slice | np.ndarray) -> sp.csr_matrix:
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(self.shape[0])
            blocks = [read_rows(part, start, stop) for part in self.parts]
        else:
            blocks = [take_rows(part, rows) for part in self.parts]
        return sum(blocks[1:], start=blocks[0])


# Cells x genes, in memory or in a file; an array of zarr reads like an h5py.Dataset.
Matrix = np.ndarray | sp.spmatrix | sp.sparray | CSRDataset | CSCDataset | h5py.Dataset | SummedMatrix


def is_on_disk(matrix: Matrix) -> bool:
    """Whether the values of a matrix are still in a file."""
    if isinstance(matrix, SummedMatrix):
        return any(map(is_on_disk, matrix.parts))
    return not (sp.issparse(matrix) or isinstance(matrix, np.ndarray))


def size_in_memory(matrix: Matrix) -> int:
    """Bytes that the values of a matrix take: of a sparse one its stored entries, of a dense one all of them."""
    if isinstance(matrix, SummedMatrix):
        return sum(map(size_in_memory, matrix.parts))
    if isinstance(matrix, CSRDataset | CSCDataset):
        group = matrix.group
        return sum(int(np.prod(group[k].shape)) * group[k].dtype.itemsize for k in ("data", "indices"))
    if sp.issparse(matrix):
        return matrix.data.nbytes + matrix.indices.nbytes
    return int(np.prod(matrix.shape)) * matrix.dtype.itemsize


def block_rows(matrix: Matrix) -> int:
    """How many rows to ask for at once so that a block stays near 48 MB."""
    n_rows = max(matrix.shape[0], 1)
    if isinstance(matrix, CSRDataset | CSCDataset | SummedMatrix) or sp.issparse(matrix):
        per_row = size_in_memory(matrix) / n_rows
    else:
        per_row = matrix.shape[1] * matrix.dtype.itemsize
    return int(np.clip(BLOCK_BYTES / max(per_row, 1), 1, MAX_ROWS))


def read_rows(matrix: Matrix, start: int, stop: int) -> sp.csr_matrix:
    """Rows `start` to `stop` as CSR in the matrix's own dtype; nothing else is read."""
    stop = min(stop, matrix.shape[0])
    if isinstance(matrix, CSRDataset):
        return read_csr_rows(matrix.group, matrix.shape[1], start, stop)
    block = matrix[start:stop]
    return block.tocsr() if sp.issparse(block) else sp.csr_matrix(computable(np.asarray(block)))


def read_csr_rows(group: h5py.Group, n_columns: int, start: int, stop: int) -> sp.csr_matrix:
    """Rows of a CSR matrix on disk, straight from its three arrays."""
    indptr = np.asarray(group["indptr"][start : stop + 1]).astype(np.int64)
    low, high = int(indptr[0]), int(indptr[-1])
    data, indices = computable(np.asarray(group["data"][low:high])), np.asarray(group["indices"][low:high])
    if (
        len(indptr) != stop - start + 1
        or not len(data) == len(indices) == high - low
        or (np.diff(indptr) < 0).any()
        or (len(indices) and not (0 <= indices.min() and indices.max() < n_columns))
    ):
        raise DatasetError(
            f"The matrix is damaged in the cells {start:,} to {stop:,}: its parts point outside of it.",
            "",
            "Copy or save the file again.",
        )
    return sp.csr_matrix((data, indices, indptr - low), shape=(stop - start, n_columns))


def computable(values: np.ndarray) -> np.ndarray:
    """Values in a type that sparse matrices can work with: half precision and foreign byte order are converted."""
    if values.dtype == np.float16:
        return values.astype(np.float32)
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def take_rows(matrix: Matrix, rows: np.ndarray) -> sp.csr_matrix:
    """Any rows, in the order asked for. On disk, neighbouring rows are read together."""
    rows = np.asarray(rows)
    if len(rows) == 0:
        return sp.csr_matrix((0, matrix.shape[1]), dtype=matrix.dtype)
    if not is_on_disk(matrix):
        return sp.csr_matrix(matrix[rows])
    if np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows))):
        return read_rows(matrix, int(rows[0]), int(rows[-1]) + 1)
    unique, back = np.unique(rows, return_inverse=True)
    runs = np.split(unique, np.flatnonzero(np.diff(unique) > 1) + 1)
    return sp.vstack([read_rows(matrix, int(run[0]), int(run[-1]) + 1) for run in runs], format="csr")[back]


def keep_columns(block: sp.csr_matrix, keep: np.ndarray) -> sp.csr_matrix:
    """The same block with only the entries of some columns, which stay where they are; `keep` is bool (n_columns,)."""
    if keep.all():
        return block
    kept = keep[block.indices]
    indptr = np.concatenate([[0], np.cumsum(kept)])[block.indptr]
    return sp.csr_matrix((block.data[kept], block.indices[kept], indptr), shape=block.shape)


def row_blocks(matrix: Matrix, rows: int | None = None) -> Iterator[tuple[int, sp.csr_matrix]]:
    """(first row, block) over the whole matrix, in order."""
    rows = rows or block_rows(matrix)
    for start in range(0, matrix.shape[0], rows):
        yield start, read_rows(matrix, start, start + rows)


def entry_chunks(
    dataset: h5py.Dataset, *, transposed: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(rows, columns, values) of the non-zero entries of a dense array on disk, tile by tile along its own chunks.

    `transposed` swaps rows and columns (files that hold genes x cells).
    """
    n_rows, n_columns = dataset.shape
    chunk = dataset.chunks or (1, n_columns)
    budget = BLOCK_BYTES // max(dataset.dtype.itemsize, 1)
    width = min(n_columns, max(chunk[1], budget // chunk[0] // chunk[1] * chunk[1]))
    height = max(chunk[0], budget // max(width, 1) // chunk[0] * chunk[0])
    for top in range(0, n_rows, height):
        for left in range(0, n_columns, width):
            tile = dataset[top : top + height, left : left + width]
            rows, columns = np.nonzero(tile)
            values = tile[rows, columns]
            rows, columns = rows + top, columns + left
            yield (columns, rows, values) if transposed else (rows, columns, values)
