"""Turn a matrix that cannot be read by rows into one that can, in bounded memory.

Entries arrive in any order, go into buckets of rows on disk, and each bucket is then sorted in memory and appended to a
CSR matrix in a temporary HDF5 file.
"""

import shutil
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
import scipy.sparse as sp
from anndata.abc import CSRDataset
from anndata.io import sparse_dataset

N_BUCKETS = 128
# Rows, columns and values of some entries.
Chunk = tuple[np.ndarray, np.ndarray, np.ndarray]
ENTRY = np.dtype([("row", "<i4"), ("column", "<i4"), ("value", "<f4")])


def write_sidecar(chunks: Iterable[Chunk], shape: tuple[int, int]) -> CSRDataset:
    """Store (rows, columns, values) chunks as a float32 CSR matrix on disk, deleted when no longer used.

    Returns
    -------
    anndata CSRDataset of the given shape, cells x genes. Repeated entries are added.
    """
    folder = Path(tempfile.mkdtemp(prefix="scfviz-"))
    try:
        per_bucket = max(1, -(-shape[0] // N_BUCKETS))
        buckets = fill_buckets(chunks, folder, per_bucket)
        path = folder / "matrix.h5"
        with h5py.File(path, "w") as file:
            write_csr(file.create_group("X"), buckets, shape, per_bucket)
        matrix = sparse_dataset(h5py.File(path, "r")["X"])
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(matrix, shutil.rmtree, folder, ignore_errors=True)
    return matrix


def fill_buckets(chunks: Iterable[Chunk], folder: Path, per_bucket: int) -> list[Path]:
    """Append every entry to the file of its bucket of rows."""
    paths = [folder / f"bucket{i}" for i in range(N_BUCKETS)]
    handles = [open(path, "wb") for path in paths]
    try:
        for rows, columns, values in chunks:
            order = np.argsort(rows // per_bucket, kind="stable")
            entries = np.empty(len(rows), ENTRY)
            entries["row"], entries["column"], entries["value"] = rows[order], columns[order], values[order]
            bounds = np.searchsorted(entries["row"] // per_bucket, np.arange(N_BUCKETS + 1))
            for i in np.flatnonzero(np.diff(bounds)):
                handles[i].write(entries[bounds[i] : bounds[i + 1]].tobytes())
    finally:
        for handle in handles:
            handle.close()
    return paths


def write_csr(group: h5py.Group, buckets: list[Path], shape: tuple[int, int], per_bucket: int) -> None:
    """Sort each bucket and append it to the CSR arrays of an AnnData-style group."""
    group.attrs.update(
        {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array(shape, dtype=np.int64)}
    )
    data = group.create_dataset("data", (0,), np.float32, maxshape=(None,), chunks=(2**18,))
    indices = group.create_dataset("indices", (0,), np.int32, maxshape=(None,), chunks=(2**18,))
    indptr = np.zeros(shape[0] + 1, dtype=np.int64)
    for i, path in enumerate(buckets):
        first = i * per_bucket
        last = min(first + per_bucket, shape[0])
        if first >= shape[0]:
            break
        entries = np.fromfile(path, ENTRY)
        path.unlink()
        block = sp.csr_matrix(
            (entries["value"], (entries["row"] - first, entries["column"])), shape=(last - first, shape[1])
        )
        stored = int(indptr[first])
        indptr[first + 1 : last + 1] = stored + block.indptr[1:]
        for dataset, values in ((data, block.data), (indices, block.indices)):
            dataset.resize((stored + block.nnz,))
            dataset[stored:] = values
    group.create_dataset("indptr", data=indptr)
