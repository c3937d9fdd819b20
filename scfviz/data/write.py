"""Write a user's file again, all of its cells or some, with our results in it. Nothing in it is changed or lost."""

import errno
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import anndata
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata.io import read_elem, write_elem

from scfviz.data import matrix as mx
from scfviz.data.disk import disk_error
from scfviz.data.read import TURNED, read_dataset
from scfviz.data.read_anndata import reads_from_disk, stored_bytes
from scfviz.data.some_rows import SomeRows, write_dense
from scfviz.data.source import dataset_id, refuse_other_content
from scfviz.errors import DatasetError, OptionError

SUFFIX = "_scfviz"
OURS = "scfviz"  # uns["scfviz"] is ours: what a file has there already is added to
REPLACED = ("lineage",)  # holds what was there before
MAX_GRAPH_BYTES = 2**28
NO_COLOR = "#8f999b"
Progress = Callable[[float], None]
Rows = TypeVar("Rows", np.ndarray, sp.spmatrix, pd.DataFrame)


def write_h5ad_with(
    path_in: str | Path,
    path_out: str | Path,
    *,
    content: str | None = None,
    cells: np.ndarray | None = None,
    obs: dict | None = None,
    obsm: dict | None = None,
    varm: dict | None = None,
    layers: dict | None = None,
    uns: dict | None = None,
    colors: Mapping[str, Mapping[str, str]] | None = None,
    progress: Progress | None = None,
) -> dict[str, str]:
    """Write the file at `path_in` to `path_out` as .h5ad, with results added.

    An .h5ad is copied as it is and added to, whatever it holds; other formats are converted in blocks of cells. The
    result appears at `path_out` all at once, at the end. A key that the file holds already is left alone: ours gets the
    suffix `_scfviz` (then `_scfviz_2`, ...). What is under `uns["scfviz"]` is added to in the same way.

    Parameters
    ----------
    content
        `dataset_id` of the file that the results were computed from: another content at `path_in` is refused, and
        so is a change while this function writes. None takes the content of now, where nothing was computed before.
    cells
        int64, ascending: rows of the file that are written, with everything that the file says about them; groups
        of `obs` without cells go. None writes all.
    obs
        Column name to one value per cell of the file, (n_obs,).
    obsm, varm
        Key to array of shape (n_obs, k) or (n_vars, k); in `obsm` also `SomeRows`.
    layers
        Key to matrix of shape (n_obs, n_vars), or `SomeRows` with `columns`.
    uns
        Key to anything that an .h5ad can hold.
    colors
        Column of `obs` to the colour of each of its groups, hexadecimal: written to `uns["<column>_colors"]`, as scanpy
        and cellxgene read it, where the file has none.
    progress
        Called with the share that is written while some cells are taken out, and while layers are added; may raise
        to stop.

    Returns
    -------
    dict
        "obsm/X_scfoundation" -> the key it was stored under, for every key that had to be renamed; empty when none had.

    Raises
    ------
    OptionError
        `path_out` is `path_in`, a value has another length than the file, or `cells` are none of its rows.
    DatasetError
        The input cannot be read or is not what the results were computed from, or the output cannot be written.
    JobError
        The disk is full.
    """
    path_in, path_out = Path(path_in).expanduser().resolve(), Path(path_out).expanduser().resolve()
    if path_in == path_out:
        raise OptionError(
            f"Input and output are the same file, '{path_in.name}'.",
            "Your file is never overwritten.",
            "Choose another output name.",
        )
    additions = {"obs": obs or {}, "obsm": obsm or {}, "varm": varm or {}, "layers": layers or {}, "uns": uns or {}}
    if content is None:
        content = dataset_id(path_in)
    adata = read_dataset(path_in)
    refuse_other_content(path_in, content)  # before lengths: they may differ for this reason
    refuse_other_lengths(additions, adata.n_obs, adata.n_vars)
    if cells is not None:
        cells = checked_cells(cells, adata.n_obs)
        additions = {part: take_cells(part, values, cells) for part, values in additions.items()}
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
        if cells is not None:
            write_converted(adata, partial, cells, progress)
            if is_current_h5ad(path_in, adata):
                carry_over(path_in, partial, cells)
        elif is_current_h5ad(path_in, adata):
            shutil.copyfile(path_in, partial)
        elif not rewrite_whole(path_in, adata, partial):
            write_converted(adata, partial)
        with h5py.File(partial, "r+") as file:
            renamed = add_all(file, additions, progress)
            for column, of_group in (colors or {}).items():
                write_colors(file, renamed.get(f"obs/{column}", column), of_group)
        refuse_other_content(path_in, content)  # after the last byte was taken from it
        partial.chmod(0o644)
        os.replace(partial, path_out)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise disk_error(f"The disk became full while '{path_out.name}' was written") from error
        raise DatasetError(
            f"'{path_out.name}' could not be written ({error.strerror or error}).",
            "",
            "Check the free space and permissions.",
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return renamed


def checked_cells(cells: np.ndarray, n_obs: int) -> np.ndarray:
    """Rows of a file, refused unless they are ascending and at least one."""
    cells = np.asarray(cells, dtype=np.int64)
    if not len(cells) or cells[0] < 0 or cells[-1] >= n_obs or (np.diff(cells) <= 0).any():
        raise OptionError(
            "No cells were chosen." if not len(cells) else f"The chosen cells are not among 0 to {n_obs - 1:,}.",
            "At least one cell of the file is needed, each once and in order.",
            "Select cells first.",
        )
    return cells


def take_cells(part: str, values: dict, cells: np.ndarray) -> dict:
    """The additions of some cells."""
    if part in ("varm", "uns"):
        return values
    if part == "obs":
        columns = {key: pd.Series(value).reset_index(drop=True).iloc[cells] for key, value in values.items()}
        return {key: used_only(column).array for key, column in columns.items()}
    return {key: value.take(cells) if isinstance(value, SomeRows) else value[cells] for key, value in values.items()}


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


def is_current_h5ad(path: Path, adata: anndata.AnnData) -> bool:
    """Whether the file can be copied and added to: an .h5ad whose tables have today's layout."""
    if adata.uns["scfviz_source"]["format"] != "h5ad" or was_turned(adata):
        return False
    with h5py.File(path, "r") as file:
        return all(file[k].attrs.get("encoding-type") == "dataframe" for k in ("obs", "var"))


def rewrite_whole(path: Path, adata: anndata.AnnData, partial: Path) -> bool:
    """Write a .zarr or an old .h5ad again with everything in it; False where anndata cannot, or should not (size)."""
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


def was_turned(adata: anndata.AnnData) -> bool:
    """Whether the reader turned the table, so that its cells are the file's columns."""
    return TURNED in adata.uns["scfviz_source"]["notes"]


def write_converted(
    adata: anndata.AnnData, path: Path, cells: np.ndarray | None = None, progress: Progress | None = None
) -> None:
    """Write a dataset as .h5ad, all cells or some; matrices that are on disk go over in blocks of cells."""
    source = adata.uns.pop("scfviz_source")
    obs, uns = (adata.obs, dict(adata.uns)) if cells is None else narrow(adata.obs, dict(adata.uns), cells)
    matrices = [adata.X, *adata.layers.values(), *([] if adata.raw is None else [adata.raw.X])]
    sizes = [0 if matrix is None else mx.size_in_memory(matrix) for matrix in matrices]
    done = iter(np.cumsum([0, *sizes]) / max(1, sum(sizes)))

    def write(group: h5py.Group, key: str, matrix: mx.Matrix) -> None:
        before, share = float(next(done)), mx.size_in_memory(matrix) / max(1, sum(sizes))
        write_matrix(group, key, matrix, cells, progress and (lambda part: progress(before + share * part)))

    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        write_elem(file, "obs", obs)
        write_elem(file, "var", adata.var)
        write_elem(file, "uns", uns)
        write_elem(file, "obsm", {key: v if cells is None else take_rows(v, cells) for key, v in adata.obsm.items()})
        for key in ("varm", "obsp", "varp"):
            write_elem(file, key, {})
        write_elem(file, "layers", {})
        if adata.X is not None:
            write(file, "X", adata.X)
        else:
            next(done)
        for key, matrix in adata.layers.items():
            write(file["layers"], key, matrix)
        if adata.raw is not None:
            raw = file.create_group("raw")
            raw.attrs.update({"encoding-type": "raw", "encoding-version": "0.1.0"})
            write_elem(raw, "var", adata.raw.var)
            write_elem(raw, "varm", {})
            write(raw, "X", adata.raw.X)
    adata.uns["scfviz_source"] = source


def take_rows(value: Rows, cells: np.ndarray) -> Rows:
    """Some rows of an array or a table."""
    return value.iloc[cells] if isinstance(value, pd.DataFrame) else value[cells]


def used_only(column: pd.Series) -> pd.Series:
    """A column without the categories that no cell has, and texts in a form that can be stored."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.remove_unused_categories()
    if isinstance(column.dtype, pd.StringDtype) or column.dtype == object:
        return column.astype("string").astype("category")
    return column


def narrow(obs: pd.DataFrame, uns: dict, cells: np.ndarray) -> tuple[pd.DataFrame, dict]:
    """The table of some cells without the groups that have none there, and without their colours."""
    obs = obs.iloc[cells].copy()
    for position, name in enumerate(obs.columns):
        column = obs.iloc[:, position]
        obs[name] = used_only(column)
        colors = uns.get(f"{name}_colors")
        if isinstance(column.dtype, pd.CategoricalDtype) and isinstance(colors, list | tuple | np.ndarray):
            is_used = column.cat.categories.isin(obs[name].cat.categories)
            if len(colors) >= len(is_used):
                uns[f"{name}_colors"] = np.asarray(colors, dtype=object)[: len(is_used)][is_used]
    return obs, uns


def carry_over(path_in: Path, partial: Path, cells: np.ndarray) -> None:
    """Bring what says nothing about single cells, and graphs between cells, from an .h5ad into a part of it."""
    with h5py.File(path_in, "r") as source, h5py.File(partial, "r+") as file:
        for key in ("varm", "varp"):
            if key in source:
                del file[key]
                source.copy(source[key], file, name=key)
        for key, graph in source["obsp"].items() if "obsp" in source else ():
            if stored_bytes(graph) <= MAX_GRAPH_BYTES:
                whole = read_elem(graph)
                part = sp.csr_matrix(whole)[cells][:, cells] if sp.issparse(whole) else whole[np.ix_(cells, cells)]
                write_elem(file["obsp"], key, part)


def write_matrix(
    group: h5py.Group, key: str, matrix: mx.Matrix, cells: np.ndarray | None = None, progress: Progress | None = None
) -> None:
    """Store a matrix, or some rows of it, as CSR, block by block."""
    n_rows = matrix.shape[0] if cells is None else len(cells)
    blocks = mx.row_blocks(matrix) if cells is None else chosen_blocks(matrix, cells)
    write_csr(group, key, (n_rows, matrix.shape[1]), matrix.dtype, blocks, progress)


def write_csr(
    group: h5py.Group,
    key: str,
    shape: tuple[int, int],
    dtype: np.dtype,
    blocks: Iterator[tuple[int, sp.csr_matrix]],
    progress: Progress | None = None,
) -> None:
    """Store blocks of rows, (first row, rows) in order, as one CSR matrix."""
    target = group.create_group(key)
    attributes = {"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array(shape, dtype=np.int64)}
    target.attrs.update(attributes)
    data, indices = (
        target.create_dataset(
            name, (0,), kind, maxshape=(None,), chunks=(2**16,), compression="gzip", compression_opts=1
        )
        for name, kind in (("data", dtype), ("indices", np.int32))
    )
    indptr = np.zeros(shape[0] + 1, dtype=np.int64)
    for start, block in blocks:
        stored = int(indptr[start])
        indptr[start + 1 : start + block.shape[0] + 1] = stored + block.indptr[1:].astype(np.int64)
        for dataset, values in ((data, block.data), (indices, block.indices)):
            dataset.resize((stored + block.nnz,))
            dataset[stored:] = values
        if progress is not None:
            progress((start + block.shape[0]) / max(1, shape[0]))
    target.create_dataset("indptr", data=indptr)


def add_rows(group: h5py.Group, key: str, rows: SomeRows, progress: Progress | None = None) -> None:
    """Store numbers that are known for some cells, or some genes."""
    if rows.is_sparse:
        blocks = ((start, sp.csr_matrix(block)) for start, block in rows.blocks())
        write_csr(group, key, rows.shape, np.dtype(np.float32), blocks, progress and (lambda _: progress(1.0)))
    else:
        write_dense(group, key, rows, (lambda: progress(1.0)) if progress else (lambda: None))


def chosen_blocks(matrix: mx.Matrix, cells: np.ndarray) -> Iterator[tuple[int, sp.csr_matrix]]:
    """(first of `cells`, their rows) in order. The matrix is read from its beginning to its end, where they lie."""
    rows = mx.block_rows(matrix)
    bounds = np.searchsorted(cells, np.arange(0, matrix.shape[0] + rows, rows))
    for low, high in zip(bounds[:-1], bounds[1:], strict=True):
        if low < high:
            first, last = int(cells[low]), int(cells[high - 1])
            yield int(low), mx.read_rows(matrix, first, last + 1)[cells[low:high] - first]


def add_all(file: h5py.File, additions: dict[str, dict], progress: Progress | None = None) -> dict[str, str]:
    """Add every result under a free key; returns those that had to be renamed."""
    renamed = {}
    for part, values in additions.items():
        if values and part not in file:
            write_elem(file, part, {})
        for key, value in values.items():
            if part == "uns" and key == OURS and isinstance(file[part].get(key), h5py.Group):
                for name in REPLACED:
                    if name in value and name in file[part][key]:
                        del file[part][key][name]
                inside = add_all(file[part], {key: value})
                renamed |= {f"{part}/{old}": new for old, new in inside.items()}
                continue
            free = free_key(storable(key), set(file[part]))
            if free != key:
                renamed[f"{part}/{key}"] = free
            if part == "obs":
                add_column(file["obs"], free, value)
            elif isinstance(value, SomeRows):
                add_rows(file[part], free, value, progress)
            elif part == "layers" and mx.is_on_disk(value):
                write_matrix(file["layers"], free, value)
            else:
                write_elem(file[part], free, value)
    return renamed


def write_colors(file: h5py.File, column: str, of_group: Mapping[str, str]) -> None:
    """Store one colour per group of a column, in the order in which scanpy will meet the groups."""
    if column not in file["obs"] or f"{column}_colors" in file["uns"]:
        return
    values = pd.Series(read_elem(file["obs"][column]))
    groups = values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else np.unique(values.astype(str))
    listed = np.array([of_group.get(str(group), NO_COLOR) for group in groups], dtype=object)
    if len(listed):
        write_elem(file["uns"], f"{column}_colors", listed)


def storable(key: str) -> str:
    """A key as HDF5 can hold it: no slash, which would open a folder, and none of the names that mean something."""
    key = key.replace("/", "_").replace("\0", "_")
    return f"{key}_" if key in ("", ".", "..", "_index", "__categories") else key


def free_key(key: str, taken: set[str]) -> str:
    """The key itself, or with a suffix when the file holds it already."""
    if key not in taken:
        return key
    free, number = key + SUFFIX, 2
    while free in taken:
        free, number = f"{key}{SUFFIX}_{number}", number + 1
    return free


def add_column(obs: h5py.Group, name: str, values: np.ndarray | pd.Series | pd.Categorical) -> None:
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
