"""Write a user's file again with our results in it. Nothing that was in the file is changed or lost."""

import os
import shutil
import tempfile
import warnings
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
from anndata.io import write_elem

from scfviz.data import matrix as mx
from scfviz.data.read import TURNED, read_dataset
from scfviz.data.read_anndata import reads_from_disk
from scfviz.errors import DatasetError, OptionError

SUFFIX = "_scfviz"


def write_h5ad_with(
    path_in: str | Path,
    path_out: str | Path,
    *,
    obs: dict | None = None,
    obsm: dict | None = None,
    varm: dict | None = None,
    layers: dict | None = None,
    uns: dict | None = None,
) -> dict[str, str]:
    """Write the file at `path_in` to `path_out` as .h5ad, with results added.

    An .h5ad is copied as it is and added to, whatever it holds; other formats are converted in blocks of cells. The
    result appears at `path_out` all at once, at the end. A key that the file holds already is left alone: ours gets the
    suffix `_scfviz` (then `_scfviz_2`, ...).

    Parameters
    ----------
    obs
        Column name to one value per cell of the file, (n_obs,).
    obsm, varm
        Key to array of shape (n_obs, k) or (n_vars, k).
    layers
        Key to matrix of shape (n_obs, n_vars).
    uns
        Key to anything that an .h5ad can hold.

    Returns
    -------
    dict
        "obsm/X_scfoundation" -> the key it was stored under, for every key that had to be renamed; empty when none had.

    Raises
    ------
    OptionError
        `path_out` is `path_in`, or a value has another length than the file.
    DatasetError
        The input cannot be read, or the output cannot be written.
    """
    path_in, path_out = Path(path_in).expanduser().resolve(), Path(path_out).expanduser().resolve()
    if path_in == path_out:
        raise OptionError(
            f"Input and output are the same file, '{path_in.name}'.",
            "Your file is never overwritten.",
            "Choose another output name.",
        )
    additions = {"obs": obs or {}, "obsm": obsm or {}, "varm": varm or {}, "layers": layers or {}, "uns": uns or {}}
    adata = read_dataset(path_in)
    refuse_other_lengths(additions, adata.n_obs, adata.n_vars)
    try:
        path_out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path_out.stem}-", suffix=".part", dir=path_out.parent)
    except OSError as error:
        raise DatasetError(
            f"'{path_out.name}' cannot be written to this folder ({error.strerror}).", "", "Choose another output."
        ) from error
    os.close(handle)
    partial = Path(name)
    try:
        if is_current_h5ad(path_in, adata):
            shutil.copyfile(path_in, partial)
        elif not rewrite_whole(path_in, adata, partial):
            write_converted(adata, partial)
        with h5py.File(partial, "r+") as file:
            renamed = add_all(file, additions)
        partial.chmod(0o644)
        os.replace(partial, path_out)
    except OSError as error:
        raise DatasetError(
            f"'{path_out.name}' could not be written ({error.strerror or error}).",
            "",
            "Check the free space and permissions.",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return renamed


def refuse_other_lengths(additions: dict[str, dict], n_obs: int, n_vars: int) -> None:
    """Refuse values whose length is not the file's: they would end up on the wrong cells or genes."""
    for part, length in (("obs", (n_obs,)), ("obsm", (n_obs,)), ("varm", (n_vars,)), ("layers", (n_obs, n_vars))):
        for key, value in additions[part].items():
            shape = (len(value),) if part == "obs" else tuple(value.shape[: len(length)])
            if shape != length:
                raise OptionError(
                    f"{part}['{key}'] has the length {shape}, the file {length}.",
                    "One row for every cell or gene of the file is needed.",
                )


def is_current_h5ad(path: Path, adata) -> bool:
    """Whether the file can be copied and added to: an .h5ad whose tables have today's layout."""
    if adata.uns["scfviz_source"]["format"] != "h5ad" or was_turned(adata):
        return False
    with h5py.File(path, "r") as file:
        return all(file[k].attrs.get("encoding-type") == "dataframe" for k in ("obs", "var"))


def rewrite_whole(path: Path, adata, partial: Path) -> bool:
    """Write a .zarr or an old .h5ad anew with everything in it; False where anndata cannot, or should not (size)."""
    origin = adata.uns["scfviz_source"]
    if origin["format"] not in ("h5ad", "zarr") or was_turned(adata) or reads_from_disk(adata):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = anndata.read_zarr(path) if origin["format"] == "zarr" else anndata.read_h5ad(path)
            whole.write_h5ad(partial)
    except Exception:  # a part of an unknown kind: what could be read is written instead
        return False
    return True


def was_turned(adata) -> bool:
    """Whether the reader turned the table, so that its cells are the file's columns."""
    return TURNED in adata.uns["scfviz_source"]["notes"]


def write_converted(adata, path: Path) -> None:
    """Write a dataset as .h5ad; matrices that are on disk go over in blocks of cells."""
    source = adata.uns.pop("scfviz_source")
    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for key in ("obs", "var", "obsm", "uns"):
            value = getattr(adata, key)
            write_elem(file, key, value if isinstance(value, pd.DataFrame) else dict(value))
        for key in ("varm", "obsp", "varp"):
            write_elem(file, key, {})
        write_elem(file, "layers", {})
        if adata.X is not None:
            write_matrix(file, "X", adata.X)
        for key, matrix in adata.layers.items():
            write_matrix(file["layers"], key, matrix)
        if adata.raw is not None:
            raw = file.create_group("raw")
            raw.attrs.update({"encoding-type": "raw", "encoding-version": "0.1.0"})
            write_elem(raw, "var", adata.raw.var)
            write_elem(raw, "varm", {})
            write_matrix(raw, "X", adata.raw.X)
    adata.uns["scfviz_source"] = source


def write_matrix(group: h5py.Group, key: str, matrix) -> None:
    """Store a matrix as CSR, block by block."""
    target = group.create_group(key)
    target.attrs.update(
        {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array(matrix.shape, dtype=np.int64)}
    )
    data = target.create_dataset(
        "data", (0,), matrix.dtype, maxshape=(None,), chunks=(2**16,), compression="gzip", compression_opts=1
    )
    indices = target.create_dataset(
        "indices", (0,), np.int32, maxshape=(None,), chunks=(2**16,), compression="gzip", compression_opts=1
    )
    indptr = np.zeros(matrix.shape[0] + 1, dtype=np.int64)
    for start, block in mx.row_blocks(matrix):
        stored = int(indptr[start])
        indptr[start + 1 : start + block.shape[0] + 1] = stored + block.indptr[1:].astype(np.int64)
        for dataset, values in ((data, block.data), (indices, block.indices)):
            dataset.resize((stored + block.nnz,))
            dataset[stored:] = values
    target.create_dataset("indptr", data=indptr)


def add_all(file: h5py.File, additions: dict[str, dict]) -> dict[str, str]:
    """Add every result under a free key; returns those that had to be renamed."""
    renamed = {}
    for part, values in additions.items():
        for key, value in values.items():
            if part not in file:
                write_elem(file, part, {})
            free = free_key(key, set(file[part]))
            if free != key:
                renamed[f"{part}/{key}"] = free
            if part == "obs":
                add_column(file["obs"], free, value)
            elif part == "layers" and mx.is_on_disk(value):
                write_matrix(file["layers"], free, value)
            else:
                write_elem(file[part], free, value)
    return renamed


def free_key(key: str, taken: set[str]) -> str:
    """The key itself, or with a suffix when the file holds it already."""
    if key not in taken:
        return key
    free, number = key + SUFFIX, 2
    while free in taken:
        free, number = f"{key}{SUFFIX}_{number}", number + 1
    return free


def add_column(obs: h5py.Group, name: str, values) -> None:
    """Append a column to a stored table."""
    values = values.array if isinstance(values, pd.Series) else values
    if not isinstance(values, pd.api.extensions.ExtensionArray):
        values = np.asarray(values)
        values = pd.Categorical(values) if values.dtype.kind in "OUS" else values
    elif not isinstance(values, pd.Categorical):
        values = np.asarray(values)
    write_elem(obs, name, values)
    order = [v.decode() if isinstance(v, bytes) else str(v) for v in obs.attrs.get("column-order", [])]
    obs.attrs.create("column-order", np.array([*order, name], dtype=object), dtype=h5py.string_dtype())
