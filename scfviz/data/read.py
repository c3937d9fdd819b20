"""Open any supported single-cell file as an AnnData with sparse (or on-disk) matrices."""

import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from scfviz.data import source
from scfviz.data.source import GZIP_MAGIC
from scfviz.errors import DatasetError, ScfvizError

FORMATS = ".h5ad, .zarr, 10x .h5, 10x matrix.mtx (a folder or .zip), .loom, .csv, .tsv or .txt (also .gz)"
HDF5_MAGIC, ZIP_MAGIC = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
TURNED = "Rows were genes and columns were cells; the table was turned."
HDF5_SUFFIXES = (".h5ad", ".h5", ".hdf5", ".loom")
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".tab")


def read_dataset(path: str | Path, *, folders: Sequence[Path] | None = None):
    """Open a dataset in any supported format.

    What the file is follows from its content, not its name. Matrices are sparse; when they are larger than about
    400 MB they stay on disk and are read in blocks of rows. Nothing is normalised, filtered or reordered; a table
    with genes as rows is turned.

    Parameters
    ----------
    path
        A file, a .zarr folder or a 10x folder with matrix.mtx.
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
    """
    real = source.resolve_source(path, folders)
    before = source.take_fingerprint(real)
    notes: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind, adata = open_by_content(real, notes)
    except ScfvizError:
        source.refuse_changed(real, before)
        raise
    except MemoryError:
        raise DatasetError(
            f"'{real.name}' does not fit in memory.", "", "Save it as .h5ad: that format is read in pieces."
        ) from None
    except Exception as error:  # foreign files break readers in countless ways; all of them mean the same to the user
        source.refuse_changed(real, before)
        detail = " ".join(str(error).split())[:160]
        raise DatasetError(
            f"'{real.name}' cannot be read: it is damaged, cut short or not what its name says.",
            f"Readable formats: {FORMATS}.",
            f"Copy or download it again, or save it anew. (Reader: {type(error).__name__}: {detail})",
        ) from error
    source.refuse_changed(real, before)
    refuse_empty(adata, real.name)
    if looks_transposed(adata):
        adata = transpose(adata, real.name)
        notes.append(TURNED)
    adata.uns["scfviz_source"] = {"path": str(real), "format": kind, "notes": notes, **asdict(before)}
    return adata


def open_by_content(path: Path, notes: list[str]):
    """(format, AnnData) of a file or folder, decided by what is in it."""
    if path.is_dir():
        return open_folder(path, notes)
    with open(path, "rb") as handle:
        head = handle.read(64)
    suffix = table_suffix(path)
    if head.startswith(HDF5_MAGIC):
        if path.suffix.lower() not in HDF5_SUFFIXES:
            notes.append(f"The name ends in '{path.suffix}', but the content is HDF5; it was read as such.")
        return open_hdf5(path, notes)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise DatasetError(
            f"'{path.name}' is a web page (HTML or XML), not a dataset.",
            f"Readable formats: {FORMATS}.",
            "The link of the download led to a page, perhaps to sign in: download the file itself.",
        )
    if head.startswith(GZIP_MAGIC) and (suffix in HDF5_SUFFIXES or suffix in (".tar", ".tgz")):
        raise DatasetError(
            f"'{path.name}' is packed (gzip).",
            f"Readable formats: {FORMATS}.",
            "Unpack it, then open what was inside.",
        )
    if path.suffix.lower() in HDF5_SUFFIXES:
        raise DatasetError(
            f"'{path.name}' is not an HDF5 file, although its name ends in '{path.suffix}'.",
            f"Readable formats: {FORMATS}.",
            "Perhaps the download was interrupted, or the name has the wrong ending.",
        )
    if head.startswith(ZIP_MAGIC):
        from scfviz.data.read_10x import read_mtx_zip

        if suffix == ".xlsx":
            raise DatasetError(
                f"'{path.name}' is an Excel workbook.",
                f"Readable formats: {FORMATS}.",
                "Save its sheet as .csv. Excel turns some gene names into dates: better get the original table.",
            )
        if not zipfile.is_zipfile(path):
            raise DatasetError(f"The archive '{path.name}' is cut short.", "", "Copy or download it again.")
        return "10x mtx (zip)", read_mtx_zip(path, notes)
    if suffix == ".mtx":
        raise DatasetError(
            f"'{path.name}' is a matrix without the names of its cells and genes.",
            "The folder with matrix.mtx, barcodes.tsv and features.tsv is needed.",
            "Choose the folder, or a .zip of the three files.",
        )
    if suffix in TABLE_SUFFIXES:
        from scfviz.data.read_tables import read_table

        return "table", read_table(path, notes)
    raise DatasetError(f"'{path.name}' is of no known format.", f"Readable formats: {FORMATS}.", "Convert it to .h5ad.")


def table_suffix(path: Path) -> str:
    """The ending of a name without .gz, in small letters."""
    return Path(path.stem).suffix.lower() if path.suffix.lower() == ".gz" else path.suffix.lower()


def open_folder(path: Path, notes: list[str]):
    """A .zarr store or a 10x folder."""
    from scfviz.data.read_10x import find_mtx, read_mtx_folder

    if source.is_zarr(path):
        from scfviz.data.read_anndata import open_zarr, read_anndata_file

        return "zarr", read_anndata_file(open_zarr(path), path.name, notes)
    if find_mtx([p.name for p in path.iterdir()]):
        return "10x mtx", read_mtx_folder(path, notes)
    raise DatasetError(
        f"The folder '{path.name}' is neither a .zarr store nor a 10x folder with matrix.mtx.",
        f"Readable formats: {FORMATS}.",
        "Choose a single file, or the folder that holds matrix.mtx itself.",
    )


def open_hdf5(path: Path, notes: list[str]):
    """AnnData, 10x or loom, by the groups inside."""
    import h5py

    from scfviz.data import read_10x, read_anndata, read_loom

    try:
        file = h5py.File(path, "r")
    except BlockingIOError:
        raise DatasetError(
            f"'{path.name}' is being written by another program.", "", "Wait until it is done."
        ) from None
    refuse_foreign_storage(file, path.name)
    if "mod" in file:
        raise DatasetError(
            f"'{path.name}' holds several kinds of measurements (MuData: {', '.join(list(file['mod'])[:6])}).",
            "One cells x genes matrix of RNA counts is needed.",
            "Save the RNA part as .h5ad (mdata.mod['rna'].write_h5ad).",
        )
    found = None
    if "obs" in file and "var" in file:
        found = "h5ad", read_anndata.read_anndata_file(file, path.name, notes)
    elif read_loom.is_loom(file):
        found = "loom", read_loom.read_loom(file, path.name, notes)
    elif genomes := read_10x.find_10x_groups(file):
        found = "10x h5", read_10x.read_10x_h5(file, genomes, path.name, notes)
    if found:
        # An open file could not be written to by anyone else; it stays open only while matrices are read from it.
        if not read_anndata.reads_from_disk(found[1]):
            file.close()
        return found
    inside = ", ".join(list(file)[:6]) or "nothing"
    raise DatasetError(
        f"'{path.name}' is an HDF5 file without a cells x genes matrix (it holds: {inside}).",
        "An AnnData, 10x or loom layout is needed.",
        "Save the dataset as .h5ad with anndata.",
    )


def refuse_foreign_storage(file, name: str) -> None:
    """Refuse HDF5 files that pull their content from other files: those could lie anywhere on the server."""
    import h5py

    def check_link(key: str, link) -> bool | None:
        return True if isinstance(link, h5py.ExternalLink) else None

    def check_object(key: str, elem) -> bool | None:
        return True if isinstance(elem, h5py.Dataset) and (elem.external or elem.is_virtual) else None

    if file.visititems_links(check_link) or file.visititems(check_object):
        raise DatasetError(
            f"'{name}' refers to other files for its content.",
            "A file that holds all its data itself is needed.",
            "Save a full copy of the dataset.",
        )


def refuse_empty(adata, name: str) -> None:
    """Refuse a dataset without cells or without genes."""
    for n, what in ((adata.n_obs, "cells"), (adata.n_vars, "genes")):
        if n == 0:
            raise DatasetError(
                f"'{name}' holds no {what} ({adata.n_obs:,} cells x {adata.n_vars:,} genes).",
                "At least one cell and one gene are needed.",
                "Perhaps a filter removed everything before saving.",
            )


def looks_transposed(adata) -> bool:
    """Whether the names of the rows are genes and those of the columns are not."""
    from scfviz.data.genes import share_known

    names = adata.obs_names[:20_000]
    return share_known(names) > 0.2 and share_known(adata.var_names[:20_000]) < 0.02 and len(names) >= 50


def transpose(adata, name: str):
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
