"""Open any supported single-cell file as an AnnData with sparse (or on-disk) matrices."""

import warnings
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from scfviz.data import source
from scfviz.data.choices import MATRIX, no_such_part
from scfviz.data.foreign import HDF5_MAGIC, HEAD_BYTES, is_tar, open_zip_names, refuse_foreign, zip_error
from scfviz.data.formats import (
    FORMATS,
    HDF5_SUFFIXES,
    PACKED,
    TABLE_SUFFIXES,
    ZARR_METADATA,
    is_matrix_file,
    shorten,
)
from scfviz.errors import DatasetError, ScfvizError

if TYPE_CHECKING:
    from anndata import AnnData

ZIP_MAGIC = b"PK\x03\x04"
TURNED = "Rows were genes and columns were cells; the table was turned."


def read_dataset(path: str | Path, *, folders: Sequence[Path] | None = None) -> "AnnData":
    """Open a dataset in any supported format.

    What the file is follows from its content, not its name. Matrices are sparse; when they are larger than about
    400 MB they stay on disk and are read in blocks of rows. Nothing is normalised, filtered or reordered; a table
    with genes as rows is turned.

    Parameters
    ----------
    path
        A file, a .zarr folder or a folder with matrix.mtx. Where it holds several datasets, one is chosen behind the
        path: `cells.h5mu/rna` (a modality of MuData), `spatial.zarr/table` (a table of SpatialData), `GSE1/GSM2` (a
        sample of a folder). The matrix with the counts is chosen behind that: `cells.h5ad/layers/NAME`, `GSE1/GSM2/X`.
    folders
        The only folders that may be read, links followed; None allows any.

    Returns
    -------
    AnnData
        Cells x genes. `uns["scfviz_source"]` holds path, format, size, mtime_ns and notes: sentences on decisions.

    Raises
    ------
    DatasetError
        Missing, empty, truncated, of an unknown form, outside the allowed folders, or without cells, genes or a
        matrix of numbers.
    ChoiceError
        Several datasets are in it, and none was chosen.
    """
    real = source.resolve_source(path, folders)
    on_disk, part = source.split_part(real)
    name = shorten(real.name)
    before = source.take_fingerprint(real)
    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind, adata, counts = open_part(on_disk, part, notes)
    except ScfvizError:
        source.refuse_changed(real, before)
        raise
    except MemoryError:
        raise DatasetError(
            f"'{name}' does not fit in memory.", "", "Save it as .h5ad: that format is read in pieces."
        ) from None
    except (EOFError, zlib.error) as error:
        raise DatasetError(
            f"'{name}' is cut short or damaged: its packed content ends early.",
            "The whole file is needed.",
            "A download or a copy was interrupted: fetch the file again.",
        ) from error
    except Exception as error:  # foreign files break readers in countless ways; all of them mean the same to the user
        source.refuse_changed(real, before)
        detail = " ".join(str(error).split())[:160]
        raise DatasetError(
            f"'{name}' could not be read: a part of it is damaged, or stored in a way that is not known here.",
            f"Readable formats: {FORMATS}.",
            f"Copy it again, or save it again as .h5ad. (Reader: {type(error).__name__}: {detail})",
        ) from error
    source.refuse_changed(real, before)
    refuse_empty(adata, name)
    if kind != "table" and looks_transposed(adata):  # a table was turned by its reader where it had to be
        adata = transpose(adata, name)
        notes.append(TURNED)
    if counts:
        kind = f"{kind}, counts in {counts}"
    chosen = {"counts": counts.removeprefix("layers/")} if counts else {}
    adata.uns["scfviz_source"] = {"path": str(real), "format": kind, "notes": notes, **asdict(before), **chosen}
    return adata


def open_part(path: Path, part: str, notes: list[str]) -> tuple[str, "AnnData", str]:
    """(format, AnnData, the matrix of its counts where one is chosen) of a file or folder, or of a part of it.

    Raises
    ------
    ChoiceError
        There is no such part, or no such matrix in it.
    """
    chosen = MATRIX.fullmatch(part)
    try:
        return *open_by_content(path, part, notes), ""
    except DatasetError:  # a sample may be called X; where none is, X is the matrix
        if not chosen:
            raise
    inside, counts = chosen[1] or "", chosen[2]
    notes.clear()
    kind, adata = open_by_content(path, inside, notes)
    places = [*(["X"] if adata.X is not None else []), *(["raw"] if adata.raw is not None else [])]
    places += [f"layers/{key}" for key in adata.layers]
    if counts not in places:
        places = [f"{inside}/{place}".strip("/") for place in places]
        raise no_such_part(path, part, places, "matrix")
    return kind, adata, counts


def open_by_content(path: Path, part: str, notes: list[str]) -> tuple[str, "AnnData"]:
    """(format, AnnData) of a file or folder, or of a part of it, decided by what is in it."""
    if path.is_dir():
        return open_folder(path, part, notes)
    name, suffix = shorten(path.name), table_suffix(path)
    with open(path, "rb") as handle:
        head = handle.read(HEAD_BYTES)
    if not is_tar(head) and is_hdf5(path, head):
        if path.suffix.lower() not in HDF5_SUFFIXES:
            ending = f"The name ends in '{path.suffix}'" if path.suffix else "The name has no ending"
            notes.append(f"{ending}, but the content is HDF5; it was read as such.")
        from scfviz.data.read_hdf5 import open_hdf5

        return open_hdf5(path, part, notes)
    refuse_foreign(path, head)
    if path.suffix.lower() in HDF5_SUFFIXES:
        raise DatasetError(
            f"'{name}' is not an HDF5 file, although its name ends in '{path.suffix}'.",
            f"Readable formats: {FORMATS}.",
            "Perhaps the download was interrupted, or the name has the wrong ending.",
        )
    if head.startswith(ZIP_MAGIC):
        return open_zip(path, part, notes)
    if part:
        raise no_such_part(path, part)
    if suffix in TABLE_SUFFIXES:
        from scfviz.data.read_tables import read_table

        return "table", read_table(path, notes)
    raise DatasetError(f"'{name}' is of no known format.", f"Readable formats: {FORMATS}.", "Convert it to .h5ad.")


def is_hdf5(path: Path, head: bytes) -> bool:
    """Whether a file is HDF5: its signature stands at the beginning, or at 512, 1024, 2048 ... behind a user block."""
    if head.startswith(HDF5_MAGIC):
        return True
    offset, size = 512, path.stat().st_size
    with open(path, "rb") as handle:
        while offset + len(HDF5_MAGIC) <= size:
            handle.seek(offset)
            if handle.read(len(HDF5_MAGIC)) == HDF5_MAGIC:
                return True
            offset *= 2
    return False


def table_suffix(path: Path) -> str:
    """The ending of a name without .gz, in small letters."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() == PACKED else path.suffix.lower()


def open_folder(path: Path, part: str, notes: list[str]) -> tuple[str, "AnnData"]:
    """A .zarr store, or a folder of matrices with their names."""
    from scfviz.data.read_mtx import describe_below, read_mtx_folder

    if source.is_zarr(path):
        from scfviz.data.read_zarr import open_zarr_folder

        return open_zarr_folder(path, part, notes)
    if any(is_matrix_file(p.name) for p in path.iterdir()):
        return "mtx", read_mtx_folder(path, part, notes)
    raise describe_below(path)


def open_zip(path: Path, part: str, notes: list[str]) -> tuple[str, "AnnData"]:
    """A .zarr store or matrices with their names, in a .zip; anything else is refused with what is inside."""
    names = [n for n in open_zip_names(path) if not n.endswith("/")]
    visible = [n for n in names if "__MACOSX" not in n.split("/") and not source.is_macos_companion(Path(n).name)]
    if any(is_matrix_file(n) for n in visible):
        from scfviz.data.read_mtx import read_mtx_zip

        return "mtx (zip)", read_mtx_zip(path, part, notes)
    if any(n.split("/")[-1] in ZARR_METADATA for n in visible):
        from scfviz.data.read_zarr import open_zarr_zip

        return open_zarr_zip(path, part, notes)
    raise zip_error(path, visible)


def refuse_empty(adata: "AnnData", name: str) -> None:
    """Refuse a dataset without cells or without genes."""
    for n, what in ((adata.n_obs, "cells"), (adata.n_vars, "genes")):
        if n == 0:
            raise DatasetError(
                f"'{name}' holds no {what} ({adata.n_obs:,} cells x {adata.n_vars:,} genes).",
                "At least one cell and one gene are needed.",
                "Perhaps a filter removed everything before saving.",
            )


def looks_transposed(adata: "AnnData") -> bool:
    """Whether the names of the rows are genes and those of the columns are not."""
    from scfviz.data.genes import share_known

    names = adata.obs_names[:20_000]
    return share_known(names) > 0.2 and share_known(adata.var_names[:20_000]) < 0.02 and len(names) >= 50


def transpose(adata: "AnnData", name: str) -> "AnnData":
    """Turn a genes x cells dataset, if it is in memory."""
    from scfviz.data.matrix import is_on_disk

    if is_on_disk(adata.X):
        raise DatasetError(
            f"In '{name}' the rows are genes and the columns are cells.",
            "Cells x genes is needed.",
            "Save the transposed dataset (adata.T).",
        )
    turned = adata.T.copy()
    turned.X = turned.X.tocsr()
    for key in turned.layers:
        turned.layers[key] = turned.layers[key].tocsr()
    return turned
