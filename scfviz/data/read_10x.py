"""Read the .h5 of Cell Ranger (version 2, and version 3 on), and of programs that write its layout (CellBender)."""

from collections.abc import Iterator

import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from anndata.abc import CSRDataset

from scfviz.data import matrix as mx
from scfviz.data.assemble import assemble
from scfviz.data.read_anndata import decode, refuse_non_numbers
from scfviz.errors import DatasetError

HUMAN_GENOMES = ("GRCh38", "hg19", "GRCh37", "hg38")
GENE_NAMES = ("gene_names", "name", "gene_name", "genes", "id", "gene_ids")
GENE_IDS = ("genes", "id", "gene_ids")


def find_10x_groups(file: h5py.File) -> list[str]:
    """Groups that hold a 10x matrix: `matrix` (version 3 on), or one per genome (version 2)."""
    parts = {"data", "indices", "indptr", "shape", "barcodes"}
    return [key for key in file if isinstance(file[key], h5py.Group) and parts <= set(file[key])]


def read_10x_h5(file: h5py.File, groups: list[str], name: str, notes: list[str]) -> AnnData:
    """The matrix of a 10x .h5 file. Of several genomes the human one is taken, and this is noted."""
    chosen = next((g for human in HUMAN_GENOMES for g in groups if human.lower() in g.lower()), groups[0])
    if len(groups) > 1:
        notes.append(
            f"The file holds {len(groups)} genomes; {chosen} is used, "
            f"{', '.join(g for g in groups if g != chosen)} left out."
        )
    group = file[chosen]
    refuse_non_numbers(group["data"].dtype, "data", name)
    n_features, n_cells = (int(n) for n in group["shape"][:2])
    obs = pd.DataFrame(index=decode(group["barcodes"][()]) if n_cells else [])
    var = read_features(group, n_features, notes)
    if (len(var), len(obs)) != (n_features, n_cells):
        raise DatasetError(
            f"In '{name}' the matrix is {n_features:,} x {n_cells:,}, but {len(var):,} features and {len(obs):,} "
            "barcodes are named.",
            "The parts must agree.",
            "The file is damaged: copy or create it again.",
        )
    return AnnData(X=open_csr(group, (n_cells, n_features), notes), obs=obs, var=var)


def read_features(group: h5py.Group, n_features: int, notes: list[str]) -> pd.DataFrame:
    """The table of features of either layout, with gene symbols (where there are none, IDs) as row names.

    A single value stands for all features; a column of any other length is left out and named.
    """
    table = group["features"] if isinstance(group.get("features"), h5py.Group) else group
    wanted = (*GENE_NAMES, "feature_type", "genome")
    columns = {key: decode(table[key][()]) for key in wanted if isinstance(table.get(key), h5py.Dataset)}
    columns = {key: np.repeat(v, n_features) if len(v) == 1 else v for key, v in columns.items()}
    if odd := [key for key, values in columns.items() if len(values) != n_features]:
        notes.append(f"Columns of another length than the features were left out: {', '.join(odd)}.")
    columns = {key: values for key, values in columns.items() if key not in odd}
    names = next((columns[key] for key in GENE_NAMES if key in columns), None)
    if names is None:
        return pd.DataFrame(index=[])
    ids = next((columns[key] for key in GENE_IDS if key in columns), None)
    renamed = {"gene_ids": ids, "feature_types": columns.get("feature_type"), "genome": columns.get("genome")}
    var = pd.DataFrame({key: values for key, values in renamed.items() if values is not None}, index=range(n_features))
    var.index = pd.Index(names, dtype=object)
    return var


def open_csr(group: h5py.Group, shape: tuple[int, int], notes: list[str]) -> sp.csr_matrix | CSRDataset:
    """The matrix as cells x features, in memory or streamed into a temporary file.

    10x stores features x cells by columns, which is cells x features by rows.
    """
    size = sum(int(group[k].shape[0]) * group[k].dtype.itemsize for k in ("data", "indices"))
    if size <= mx.IN_MEMORY_BYTES:
        return mx.read_csr_rows(group, shape[1], 0, shape[0])
    return assemble(csr_entries(group), shape, notes)


def csr_entries(group: h5py.Group) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Entries of a CSR matrix on disk in runs."""
    indptr = group["indptr"][()].astype(np.int64)
    budget = mx.BLOCK_BYTES // 8
    for low in range(0, int(indptr[-1]), budget):
        high = min(low + budget, int(indptr[-1]))
        rows = np.searchsorted(indptr, np.arange(low, high), side="right") - 1
        yield rows, group["indices"][low:high], group["data"][low:high]
