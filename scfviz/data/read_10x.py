"""Read what Cell Ranger writes: .h5 of version 2 and of version 3 on, and matrix.mtx with its files of names."""

import gzip
import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import h5py
import numpy as np
import pandas as pd
from anndata import AnnData

from scfviz.data import matrix as mx
from scfviz.data.assemble import assemble
from scfviz.data.read_anndata import decode, refuse_non_numbers
from scfviz.errors import DatasetError

HUMAN_GENOMES = ("GRCh38", "hg19", "GRCh37", "hg38")
MATRIX_NAMES = ("matrix.mtx.gz", "matrix.mtx")
FEATURE_NAMES = ("features.tsv.gz", "features.tsv", "genes.tsv.gz", "genes.tsv")
BARCODE_NAMES = ("barcodes.tsv.gz", "barcodes.tsv")
MAX_NAMES_BYTES = 2**30
MTX_NUMBERS = ("integer", "real")
LINES_PER_CHUNK = 2_000_000


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
    var = read_features(group)
    if (len(var), len(obs)) != (n_features, n_cells):
        raise DatasetError(
            f"In '{name}' the matrix is {n_features:,} x {n_cells:,}, but {len(var):,} features and {len(obs):,} "
            "barcodes are named.",
            "The parts must agree.",
            "The file is damaged: copy or create it again.",
        )
    return AnnData(X=open_csr(group, (n_cells, n_features), notes), obs=obs, var=var)


def read_features(group: h5py.Group) -> pd.DataFrame:
    """The table of features of either layout, with gene symbols as row names."""
    if "features" not in group:
        names = pd.Index(decode(group["gene_names"][()]), dtype=object)
        return pd.DataFrame({"gene_ids": decode(group["genes"][()])}, index=names)
    features = group["features"]
    columns = {"gene_ids": "id", "feature_types": "feature_type", "genome": "genome"}
    var = pd.DataFrame({new: decode(features[old][()]) for new, old in columns.items() if old in features})
    var.index = pd.Index(decode(features["name"][()]), dtype=object)
    return var


def open_csr(group: h5py.Group, shape: tuple[int, int], notes: list[str]):
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


def find_mtx(names: list[str]) -> list[str]:
    """The names of matrix files among file names, sorted; a prefix such as `sample1_` or `folder/` is allowed."""
    return sorted(n for n in names if n.endswith(MATRIX_NAMES))


def read_mtx_folder(path: Path, notes: list[str]) -> AnnData:
    """A folder with matrix.mtx, barcodes.tsv and features.tsv or genes.tsv, each packed or not."""
    names = [p.name for p in path.iterdir() if p.is_file()]
    return read_mtx(names, lambda name: open(path / name, "rb"), path.name, notes)


def read_mtx_zip(path: Path, notes: list[str]) -> AnnData:
    """The same three files in a .zip, read in place without unpacking to disk."""
    with zipfile.ZipFile(path) as archive:
        # macOS puts a ._ file beside every file.
        names = [n for n in archive.namelist() if not PurePosixPath(n).name.startswith(".")]
        return read_mtx(names, archive.open, path.name, notes)


def read_mtx(
    names: list[str], open_member: Callable[[str], io.BufferedIOBase], label: str, notes: list[str]
) -> AnnData:
    """Matrix and names through a function that opens a file of the set."""
    matrices = find_mtx(names)
    if not matrices:
        raise DatasetError(
            f"'{label}' holds no matrix.mtx.",
            "matrix.mtx, barcodes.tsv and features.tsv (or genes.tsv) are needed.",
            f"Found: {', '.join(sorted(names)[:6]) or 'nothing'}.",
        )
    matrix_name = matrices[0]
    prefix = matrix_name[: matrix_name.rindex("matrix.mtx")]
    others = [n for n in matrices if not n.startswith(prefix)]
    if others:
        notes.append(
            f"There are several samples; {matrix_name} is used, left out: {', '.join(others[:5])}. To use another one, "
            "put its three files into a folder of their own."
        )
    features, barcodes = (
        next((prefix + n for n in wanted if prefix + n in names), None) for wanted in (FEATURE_NAMES, BARCODE_NAMES)
    )
    if features is None or barcodes is None:
        missing = "features.tsv (or genes.tsv)" if features is None else "barcodes.tsv"
        raise DatasetError(
            f"'{label}' has a matrix but no {missing}.",
            "The names of cells and genes are needed.",
            "Put the three files of one sample together.",
        )
    var, obs = read_feature_lines(unpack(open_member(features))), read_names(unpack(open_member(barcodes)))
    with unpack(open_member(matrix_name)) as stream:
        *size, n_entries = read_mtx_header(stream, label)
        shape = tuple(size)
        turned = shape == (len(obs), len(var)) and shape != (len(var), len(obs))
        if not turned and shape != (len(var), len(obs)):
            raise DatasetError(
                f"In '{label}' the matrix is {shape[0]:,} x {shape[1]:,}, but {len(var):,} features and "
                f"{len(obs):,} barcodes are named.",
                "The three files must belong together.",
                "Take all three from the same output folder.",
            )
        if turned:
            notes.append("The matrix is stored cells x genes.")
        X = assemble(mtx_entries(stream, turned, shape, n_entries, label), (len(obs), len(var)), notes)
    return AnnData(X=X, obs=pd.DataFrame(index=obs), var=var)


def unpack(handle) -> io.BufferedIOBase:
    """A stream of plain bytes, unpacked when it is gzip."""
    buffered = io.BufferedReader(handle) if not hasattr(handle, "peek") else handle
    return gzip.open(buffered, "rb") if buffered.peek(2)[:2] == b"\x1f\x8b" else buffered


def read_names(stream) -> list[str]:
    """First column of a file of names."""
    return [row[0] for row in read_fields(stream)]


def read_fields(stream) -> list[list[str]]:
    """Fields of a file of names, between tabs, without the quotes that R writes."""
    with stream:
        content = stream.read(MAX_NAMES_BYTES + 1)
    if len(content) > MAX_NAMES_BYTES:  # a few packed kilobytes can unpack to more than memory holds
        raise DatasetError("The names of cells or genes take more than 1 GB.", "", "Check the files of names.")
    lines = content.decode("utf-8", "replace").splitlines()
    return [[field.strip().strip('"') for field in line.split("\t")] for line in lines if line.strip()]


def read_feature_lines(stream) -> pd.DataFrame:
    """features.tsv (id, name, type) or genes.tsv (id, name), with the name as row name."""
    rows = read_fields(stream)
    names = pd.Index([row[1] if len(row) > 1 else row[0] for row in rows], dtype=object)
    var = pd.DataFrame({"gene_ids": [row[0] for row in rows]}, index=names)
    if any(len(row) > 2 for row in rows):
        var["feature_types"] = [row[2] if len(row) > 2 else "" for row in rows]
    return var


def read_mtx_header(stream, label: str) -> tuple[int, int, int]:
    """Rows, columns and entries from the head of a Matrix Market file; the stream is left at the first entry."""
    first = stream.readline().decode("ascii", "replace").lower().split()
    if len(first) < 4 or first[0] != "%%matrixmarket" or first[2] != "coordinate" or first[3] not in MTX_NUMBERS:
        raise DatasetError(
            f"The matrix of '{label}' is not a sparse Matrix Market file of numbers.",
            "A first line '%%MatrixMarket matrix coordinate integer general' is needed.",
            "Export the matrix again.",
        )
    line = stream.readline()
    while line.startswith(b"%") or line.strip() == b"":
        if not line:
            raise DatasetError(
                f"The matrix of '{label}' ends in its first lines.", "", "Copy or download the file again."
            )
        line = stream.readline()
    n_rows, n_columns, n_entries = (int(v) for v in line.split()[:3])
    return n_rows, n_columns, n_entries


def mtx_entries(
    stream, turned: bool, shape: tuple[int, int], n_entries: int, label: str
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(cells, genes, values) chunks of a Matrix Market body, which must be complete."""
    n_read = 0
    if n_entries == 0:
        return
    reader = pd.read_csv(
        stream,
        sep=r"\s+",
        header=None,
        names=["row", "column", "value"],
        chunksize=LINES_PER_CHUNK,
        comment="%",
        dtype={"row": np.int32, "column": np.int32},
    )
    for chunk in reader:
        values = chunk["value"].to_numpy()
        if values.dtype == object:
            raise DatasetError(f"The matrix of '{label}' holds text among its numbers.", "", "Export the matrix again.")
        rows, columns = chunk["row"].to_numpy() - 1, chunk["column"].to_numpy() - 1
        if rows.min() < 0 or columns.min() < 0 or rows.max() >= shape[0] or columns.max() >= shape[1]:
            raise DatasetError(
                f"The matrix of '{label}' has entries outside its {shape[0]:,} x {shape[1]:,} size.",
                "",
                "Export the matrix again.",
            )
        n_read += len(chunk)
        yield (rows, columns, values) if turned else (columns, rows, values)
    if n_read != n_entries:
        raise DatasetError(
            f"The matrix of '{label}' is cut short: {n_read:,} of {n_entries:,} entries are there.",
            "",
            "Copy or download the file again.",
        )
