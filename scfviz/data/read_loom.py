"""Read .loom files (genes x cells in HDF5) with h5py alone.

Layout: http://linnarssonlab.org/loompy/format/index.html
"""

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData

from scfviz.data.assemble import assemble
from scfviz.data.matrix import entry_chunks
from scfviz.data.read_anndata import decode, refuse_non_numbers
from scfviz.errors import DatasetError

CELL_NAMES = ("CellID", "cell_id", "CellIDs", "obs_names", "Barcode", "barcode", "cell_names")
GENE_NAMES = ("Gene", "gene", "GeneName", "gene_symbol", "var_names", "Accession", "gene_names")
VELOCITY_LAYERS = ("spliced", "unspliced", "ambiguous")


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
    if "layers" in file and (others := [k for k in file["layers"] if k not in VELOCITY_LAYERS]):
        notes.append(f"Only the main matrix of the loom file is used; other layers: {', '.join(others[:5])}.")
    return AnnData(X=assemble(entry_chunks(matrix, transposed=True), (n_cells, n_genes), notes), obs=obs, var=var)


def read_attributes(group: h5py.Group, length: int, names: tuple[str, ...], file_name: str) -> pd.DataFrame:
    """One-dimensional attributes as columns; the first known column of names becomes the row names."""
    columns = {}
    for key, elem in group.items():
        if isinstance(elem, h5py.Dataset) and len(elem.shape) == 1 and elem.dtype.kind != "V":
            if elem.shape[0] != length:
                raise DatasetError(
                    f"In '{file_name}' the attribute '{key}' has {elem.shape[0]:,} values for {length:,} rows.",
                    "The parts must agree.",
                    "The file is damaged: save it again.",
                )
            columns[key] = decode(elem[()])
    index = next((columns[key] for key in names if key in columns), np.arange(length))
    return pd.DataFrame(columns, index=pd.Index([str(v) for v in index], dtype=object))
