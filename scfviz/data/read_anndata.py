"""Read AnnData's own formats, .h5ad and .zarr, leaving large matrices on disk."""

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from anndata.abc import CSCDataset, CSRDataset
from anndata.io import read_elem, sparse_dataset

from scfviz.data import matrix as mx
from scfviz.data.sidecar import write_sidecar
from scfviz.errors import DatasetError

if TYPE_CHECKING:
    import zarr

    Group = h5py.Group | zarr.Group
    Array = h5py.Dataset | zarr.Array

MAX_EXTRA_BYTES = 64 * 2**20
SPARSE = ("csr_matrix", "csc_matrix", "csr_array", "csc_array")


def read_anndata_file(root: "Group", name: str, notes: list[str]) -> AnnData:
    """Build an AnnData from an open .h5ad file or .zarr group.

    Tables are in memory; matrices are sparse in memory, or stay on disk.

    Parameters
    ----------
    root
        h5py.File or zarr.Group.
    name
        What to call the file in messages.
    notes
        Sentences about anything unusual are appended.
    """
    obs, var = (read_frame(root, axis, name, notes) for axis in ("obs", "var"))
    found = {"X": root["X"]} if "X" in root and getattr(root["X"], "shape", ()) is not None else {}
    if "layers" in root and hasattr(root["layers"], "keys"):
        found |= {f"layers/{key}": root["layers"][key] for key in root["layers"]}
    raw_var = None
    if "raw" in root and hasattr(root["raw"], "keys") and "X" in root["raw"]:  # a null where there is none
        found["raw"], raw_var = root["raw"]["X"], read_frame(root["raw"], "var", name, notes)
    elif "raw.X" in root:  # anndata before 0.7
        found["raw"], raw_var = root["raw.X"], read_frame(root, "raw.var", name, notes)
    if not found:
        raise DatasetError(
            f"'{name}' holds no matrix: neither X, nor raw, nor layers.",
            "A cells x genes matrix is needed.",
            "Save the dataset again together with its counts.",
        )
    matrices = {key: open_matrix(elem, key, name) for key, elem in found.items()}
    for key, opened in matrices.items():
        expected = (len(obs), len(raw_var) if key == "raw" else len(var))
        if tuple(opened.shape) != expected:
            raise DatasetError(
                f"In '{name}' the matrix {key} has the shape {opened.shape[0]:,} x {opened.shape[1]:,}, but its "
                f"tables describe {expected[0]:,} cells and {expected[1]:,} genes.",
                "The parts must agree.",
                "The file is damaged or was put together wrongly: save it again.",
            )
    stay = sum(map(mx.size_in_memory, matrices.values())) > mx.IN_MEMORY_BYTES
    loaded = {key: settle(opened, key, stay, notes) for key, opened in matrices.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # repeated names are reported in words later on
        return AnnData(
            X=loaded.get("X"),
            obs=obs,
            var=var,
            layers={key.removeprefix("layers/"): m for key, m in loaded.items() if key.startswith("layers/")},
            raw={"X": loaded["raw"], "var": raw_var} if "raw" in loaded else None,
            obsm=read_extras(root, "obsm", notes, n_obs=len(obs)),
            uns=read_extras(root, "uns", notes),
        )


def read_frame(root: "Group", key: str, name: str, notes: list[str]) -> pd.DataFrame:
    """The table of cells or genes, in today's layout or the one before anndata 0.7."""
    kind = {"obs": "cells", "var": "genes", "raw.var": "genes"}[key]
    if key not in root:
        raise DatasetError(
            f"'{name}' has no table of {kind} ('{key}').",
            "An AnnData file has the tables obs and var.",
            "Save the dataset again with anndata.",
        )
    elem = root[key]
    frame = read_columns(elem, notes) if hasattr(elem, "keys") else read_compound(elem, root, key, name)
    if not isinstance(frame, pd.DataFrame):
        raise DatasetError(
            f"In '{name}' the table of {kind} ('{key}') is not a table.", "", "Save the dataset again with anndata."
        )
    frame.index = pd.Index([str(v) for v in frame.index], dtype=object)
    return frame


def read_columns(group: "Group", notes: list[str]) -> pd.DataFrame:
    """A stored table; columns that cannot be read are left out and named, the names of the rows must be there."""
    try:
        return read_elem(group)
    except Exception:  # one column of an unknown kind must not hide the counts
        index = read_elem(group[group.attrs["_index"]])
        columns, left = {}, []
        for column in group.attrs["column-order"]:
            try:
                columns[column] = read_elem(group[column])
            except Exception:
                left.append(str(column))
        notes.append(f"Columns that could not be read were left out: {', '.join(left[:6])}.")
        return pd.DataFrame(columns, index=index)


def read_compound(elem: "Array", root: "Group", key: str, name: str) -> pd.DataFrame:
    """A table stored as one compound array, in HDF5 or zarr; its category names are in uns."""
    if elem.dtype.names is None:
        raise DatasetError(
            f"In '{name}' the table '{key}' is a single array without columns.",
            "An AnnData file has the tables obs and var.",
            "Save the dataset again with anndata.",
        )
    values = elem[...]
    frame = pd.DataFrame({field: decode(values[field]) for field in elem.dtype.names if values[field].ndim == 1})
    index = next((c for c in ("index", "_index", "cell", "gene") if c in frame), frame.columns[0])
    frame = frame.set_index(index)
    uns = root["uns"] if "uns" in root else {}
    for column in frame.columns:
        if f"{column}_categories" in uns:
            categories = decode(uns[f"{column}_categories"][...])
            frame[column] = pd.Categorical.from_codes(frame[column].astype(int), categories)
    return frame


def decode(values: np.ndarray) -> np.ndarray:
    """Bytes to text; anything that is no UTF-8 becomes a replacement character rather than an error."""
    values = np.atleast_1d(values)
    if values.dtype.kind not in "SO":
        return values
    return np.array([v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values], dtype=object)


def open_matrix(elem: "Group | Array", key: str, name: str) -> mx.Matrix:
    """A matrix on disk, sparse or dense, refused if it does not hold numbers."""
    if hasattr(elem, "keys"):
        attrs = dict(elem.attrs)
        if attrs.get("encoding-type", f"{attrs.get('h5sparse_format')}_matrix") not in SPARSE:
            encoding = attrs.get("encoding-type", "no encoding")
            raise DatasetError(
                f"In '{name}' the matrix {key} is stored in an unknown way ({encoding}).",
                "A dense or a CSR/CSC matrix is needed.",
                "Save the dataset again with anndata.",
            )
        refuse_non_numbers(elem["data"].dtype, key, name)
        return sparse_dataset(elem)
    refuse_non_numbers(elem.dtype, key, name)
    if len(elem.shape) != 2:
        raise DatasetError(
            f"In '{name}' the matrix {key} has {len(elem.shape)} dimensions.", "Two are needed: cells x genes."
        )
    return elem


def refuse_non_numbers(dtype: np.dtype, key: str, name: str) -> None:
    """Refuse text and stored Python objects where numbers belong."""
    if dtype.kind in "biuf":
        return
    is_text = dtype.kind in "SUT" or h5py.check_string_dtype(dtype) is not None
    what = "text" if is_text else "stored Python objects"
    raise DatasetError(
        f"In '{name}' the matrix {key} holds {what}, not numbers.",
        "A matrix of counts is needed.",
        "Convert it to numbers before saving. Stored Python objects are never opened: they can run programs.",
    )


def settle(opened: mx.Matrix, key: str, stay_on_disk: bool, notes: list[str]) -> mx.Matrix:
    """Load a matrix as CSR, or leave it on disk in a form that can be read by rows."""
    if not stay_on_disk:
        if isinstance(opened, CSCDataset):
            data, indices, indptr = (np.asarray(opened.group[k][()]) for k in ("data", "indices", "indptr"))
            columns = sp.csc_matrix((mx.computable(data), indices, indptr), shape=opened.shape)
            columns.check_format(full_check=True)  # a damaged file would otherwise be read beyond its end
            return columns.tocsr()
        if opened.shape[0] == 0:
            return sp.csr_matrix(opened.shape, dtype=np.float32)
        return sp.vstack([block for _, block in mx.row_blocks(opened)], format="csr")
    if isinstance(opened, CSCDataset):
        notes.append(
            f"The matrix {key} is stored gene by gene and too large for memory; it was rearranged cell by cell in a "
            "temporary file."
        )
        return write_sidecar(csc_chunks(opened), opened.shape)
    chunks = getattr(opened, "chunks", None)
    if not isinstance(opened, CSRDataset) and chunks and chunks[0] > 4 * mx.block_rows(opened):
        notes.append(
            f"The matrix {key} is stored in blocks of many cells and is too large for memory; it was rearranged in a "
            "temporary file."
        )
        return write_sidecar(mx.entry_chunks(opened), opened.shape)
    return opened


def csc_chunks(matrix: CSCDataset) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(rows, columns, values) of a CSC matrix on disk, in runs of columns."""
    group, budget = matrix.group, mx.BLOCK_BYTES // 8
    indptr = np.asarray(group["indptr"][:]).astype(np.int64)
    for low in range(0, int(indptr[-1]), budget):
        high = min(low + budget, int(indptr[-1]))
        columns = np.searchsorted(indptr, np.arange(low, high), side="right") - 1
        yield np.asarray(group["indices"][low:high]), columns, np.asarray(group["data"][low:high])


def read_extras(root: "Group", key: str, notes: list[str], n_obs: int | None = None) -> dict:
    """What can be read of `obsm` or `uns`; an element that cannot, or is very large, stays in the file and is named."""
    group = root[key] if key in root else None
    if not hasattr(group, "keys"):
        return {}
    found, left = {}, []
    for name in group:
        try:
            if stored_bytes(group[name]) > MAX_EXTRA_BYTES:
                raise ValueError("large")
            value = read_elem(group[name])
            if n_obs is not None and len(value) != n_obs:
                raise ValueError("another length")
            found[name] = value
        except Exception:  # whatever a foreign writer stored there must not hide the counts
            left.append(name)
    if left:
        notes.append(f"Parts of {key} were left unread (unknown form or very large): {', '.join(left[:6])}.")
    return found


def stored_bytes(elem: "Group | Array") -> int:
    """Bytes of an element of a file, with everything below it."""
    if hasattr(elem, "keys"):
        return sum(stored_bytes(elem[name]) for name in elem)
    return int(np.prod(elem.shape)) * elem.dtype.itemsize


def reads_from_disk(adata: AnnData) -> bool:
    """Whether any matrix of a dataset is still in its file."""
    matrices = [adata.X, *adata.layers.values(), adata.raw.X if adata.raw is not None else None]
    return any(m is not None and mx.is_on_disk(m) for m in matrices)
