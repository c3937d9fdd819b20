"""Datasets for the tests of reading: real gene names, counts with a known seed, and a writer for every format."""

import gzip
import zipfile
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse as sp

from scfviz.data.vocabulary import load_vocabulary


def some_genes(n: int = 400) -> list[str]:
    """Symbols spread over the model's list."""
    symbols = load_vocabulary().symbols
    return [symbols[i] for i in np.linspace(0, len(symbols) - 1, n).astype(int)]


def make_counts(n_obs: int = 60, n_vars: int = 400, seed: int = 0) -> sp.csr_matrix:
    """Counts of cells, mostly zeros, with some ones in every cell."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.4, 1.5, size=n_vars), size=(n_obs, n_vars))
    counts[:, 0] = 1
    return sp.csr_matrix(counts.astype(np.float32))


def make_adata(n_obs: int = 60, names: list[str] | None = None, seed: int = 0) -> ad.AnnData:
    """Counts of some genes of the model, with cell types."""
    names = some_genes() if names is None else names
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical(["T", "B"] * n_obs)[:n_obs]}, index=[f"CELL{i}" for i in range(n_obs)]
    )
    return ad.AnnData(make_counts(n_obs, len(names), seed), obs=obs, var=pd.DataFrame(index=names))


def write_h5ad(adata: ad.AnnData, path: Path, **options) -> Path:
    """An .h5ad as anndata writes it today."""
    adata.write_h5ad(path, **options)
    return path


def write_10x_h5(adata: ad.AnnData, path: Path, version: int, types: list[str] | None = None) -> Path:
    """A 10x .h5 in the layout of Cell Ranger 2 or 3."""
    columns = sp.csc_matrix(adata.X.T)
    names = np.array(adata.var_names, dtype="S")
    ids = np.array([f"ENSG{i:011d}" for i in range(adata.n_vars)], dtype="S")
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix" if version == 3 else "GRCh38")
        group["data"], group["indices"], group["indptr"] = columns.data.astype("i4"), columns.indices, columns.indptr
        group["shape"], group["barcodes"] = np.array(columns.shape), np.array(adata.obs_names, dtype="S")
        if version == 3:
            features = group.create_group("features")
            features["id"], features["name"] = ids, names
            features["feature_type"] = np.array(types or ["Gene Expression"] * adata.n_vars, dtype="S")
            features["genome"] = np.array(["GRCh38"] * adata.n_vars, dtype="S")
        else:
            group["genes"], group["gene_names"] = ids, names
    return path


def mtx_parts(adata: ad.AnnData, version: int) -> dict[str, bytes]:
    """The three files of a 10x folder: genes.tsv of old, or packed with features.tsv."""
    import io

    stream = io.BytesIO()
    scipy.io.mmwrite(stream, sp.coo_matrix(adata.X.T.astype(int)), field="integer")
    kind = "\tGene Expression" if version == 3 else ""
    features = "".join(f"ENSG{i:011d}\t{name}{kind}\n" for i, name in enumerate(adata.var_names))
    parts = {
        "matrix.mtx": stream.getvalue(),
        "barcodes.tsv": "".join(f"{name}\n" for name in adata.obs_names).encode(),
        "features.tsv" if version == 3 else "genes.tsv": features.encode(),
    }
    return {f"{k}.gz": gzip.compress(v) for k, v in parts.items()} if version == 3 else parts


def write_mtx_folder(adata: ad.AnnData, folder: Path, version: int) -> Path:
    """A 10x folder."""
    folder.mkdir()
    for name, content in mtx_parts(adata, version).items():
        (folder / name).write_bytes(content)
    return folder


def write_mtx_zip(adata: ad.AnnData, path: Path) -> Path:
    """The same as a .zip with a folder inside."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in mtx_parts(adata, 3).items():
            archive.writestr(f"filtered/{name}", content)
    return path


def write_loom(adata: ad.AnnData, path: Path) -> Path:
    """A .loom file: genes x cells."""
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "matrix", data=adata.X.T.toarray(), chunks=(64, max(1, min(16, adata.n_obs))) if adata.n_obs else None
        )
        file.create_group("layers")
        file["row_attrs/Gene"] = np.array(adata.var_names, dtype="S")
        file["col_attrs/CellID"] = np.array(adata.obs_names, dtype="S")
        file["col_attrs/cell_type"] = np.array(adata.obs["cell_type"], dtype="S")
    return path


def write_table(adata: ad.AnnData, path: Path, *, genes_are_rows: bool = False) -> Path:
    """A .csv or .tsv, packed or not, either way round."""
    frame = pd.DataFrame(adata.X.toarray().astype(int), index=adata.obs_names, columns=adata.var_names)
    frame = frame.T if genes_are_rows else frame
    frame.to_csv(path, sep="\t" if ".tsv" in path.name else ",")
    return path


def write_old_h5ad(adata: ad.AnnData, path: Path) -> Path:
    """An .h5ad in the layout of anndata 0.6: tables as compound arrays, sparse format in `h5sparse_format`."""
    categories = adata.obs["cell_type"].cat
    obs = np.array(
        list(zip(adata.obs_names, categories.codes, strict=True)), dtype=[("index", "S20"), ("cell_type", "i1")]
    )
    with h5py.File(path, "w") as file:
        file["obs"] = obs
        file["var"] = np.array([(n,) for n in adata.var_names], dtype=[("index", "S30")])
        file["uns/cell_type_categories"] = np.array(categories.categories, dtype="S")
        group = file.create_group("X")
        group["data"], group["indices"], group["indptr"] = adata.X.data, adata.X.indices, adata.X.indptr
        group.attrs["h5sparse_format"], group.attrs["h5sparse_shape"] = "csr", adata.X.shape
    return path
