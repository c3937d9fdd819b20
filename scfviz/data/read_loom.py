"""Read .loom files (genes x cells in HDF5) with h5py alone.

Layout: http://linnarssonlab.org/loompy/format/index.html
"""

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData

from scfviz.data.assemble import assemble
from scfviz.data.matrix import entry_chunks
from scfviz.data.mtx_files import PARTS
from scfviz.data.read_anndata import decode, refuse_non_numbers
from scfviz.errors import DatasetError

CELL_NAMES = (
    "CellID",
    "cell_id",
    "CellIDs",
    "obs_names",
    "Barcode",
    "barcode",
    "barcodes",
    "cell_names",
    "Cell",
    "cell",
)
GENE_NAMES = (
    "Gene",
    "gene",
    "GeneName",
    "gene_name",
    "gene_symbol",
    "Symbol",
    "symbol",
    "var_names",
    "gene_names",
    "Accession",
    "target_name",
    "gene_id",
    "ensembl_id",
)
SAVE_AGAIN = "The file is damaged: save it again."


def is_loom(file: h5py.File) -> bool:
    """Whether an HDF5 file has loom's parts."""
    return isinstance(file.get("matrix"), h5py.Dataset) and "row_attrs" in file and "col_attrs" in file


def read_loom(file: h5py.File, name: str, notes: list[str]) -> AnnData:
    """The main matrix of a loom file, turned to cells x genes, with its row and column attributes."""
    matrix = file["matrix"]
    refuse_non_numbers(matrix.dtype, "matrix", name)
    n_genes, n_cells = matrix.shape
    obs = read_attributes(file["col_attrs"], n_cells, CELL_NAMES, name)
    var = read_attributes(file["row_attrs"], n_genes, GENE_NAMES, name)
    if not len(obs) or not len(var):
        return AnnData(obs=obs, var=var)
    stored = file["layers"] if isinstance(file.get("layers"), h5py.Group) else {}
    if others := [key for key in stored if key not in PARTS]:
        notes.append(f"Of the loom file's layers these were not read: {', '.join(others[:5])}.")
    layers = {}
    for key in (key for key in stored if key in PARTS):
        refuse_non_numbers(stored[key].dtype, f"layers/{key}", name)
        if stored[key].shape != matrix.shape:
            raise DatasetError(
                f"In '{name}' the layer '{key}' has another shape than the matrix.", "The parts must agree.", SAVE_AGAIN
            )
        layers[key] = assemble(entry_chunks(stored[key], transposed=True), (n_cells, n_genes), notes)
    X = assemble(entry_chunks(matrix, transposed=True), (n_cells, n_genes), notes)
    return AnnData(X=X, obs=obs, var=var, layers=layers)


def read_attributes(group: h5py.Group, length: int, names: tuple[str, ...], file_name: str) -> pd.DataFrame:
    """One-dimensional attributes as columns; the first known column of names becomes the row names."""
    columns = {}
    for key, elem in group.items():
        if isinstance(elem, h5py.Dataset) and len(elem.shape) == 1 and elem.dtype.kind != "V":
            if elem.shape[0] != length:
                raise DatasetError(
                    f"In '{file_name}' the attribute '{key}' has {elem.shape[0]:,} values for {length:,} rows.",
                    "The parts must agree.",
                    SAVE_AGAIN,
                )
            columns[key] = decode(elem[()])
    index = next((columns[key] for key in names if key in columns), np.arange(length))
    return pd.DataFrame(columns, index=pd.Index([str(v) for v in index], dtype=object))
