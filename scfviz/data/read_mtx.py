"""Read Matrix Market matrices with their files of names, from a folder or a .zip, as many programs write them."""

import io
import itertools
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData
from anndata.abc import CSRDataset

from scfviz.data import choices
from scfviz.data.assemble import assemble
from scfviz.data.formats import DATASET_SUFFIXES, FORMATS, is_dataset_file, is_dataset_folder, is_hidden, shorten
from scfviz.data.mtx_files import MtxSet, describe, find_sets
from scfviz.data.name_files import Names, read_cells, read_genes
from scfviz.data.source import unpack
from scfviz.errors import ChoiceError, DatasetError

MTX_NUMBERS = ("integer", "real", "unsigned-integer")
LINES_PER_CHUNK = 2_000_000
EDS = ("quants_mat.gz", "quants_mat.eds.gz")
MAX_DEPTH, MAX_FILES = 4, 2_000  # outs/per_sample_outs/SAMPLE/count/sample_filtered_feature_bc_matrix
UNFILTERED = re.compile(r"(?:^|/)(?:raw(?:_feature_bc_matrix)?|\w*unfiltered)(?:/|$)", re.IGNORECASE)
VELOCYTO = ("spliced", "unspliced", "ambiguous")  # the three columns of values of STARsolo's Velocyto/matrix.mtx
USA = (("", "spliced"), ("-U", "unspliced"), ("-A", "ambiguous"))  # alevin-fry: three columns a gene
SIDE_BY_SIDE = "Spliced, unspliced and ambiguous counts stand side by side in the matrix; they were read as layers."
Opener = Callable[[str], io.BufferedIOBase]


def read_mtx_folder(path: Path, part: str, notes: list[str]) -> AnnData:
    """One sample of a folder with a matrix, the names of its cells and those of its genes, each packed or not."""
    names = [p.name for p in path.iterdir() if p.is_file()]
    return read_one(names, lambda name: open(path / name, "rb"), path, part, notes)


def read_mtx_zip(path: Path, part: str, notes: list[str]) -> AnnData:
    """The same in a .zip, read in place without unpacking to disk."""
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if not n.endswith("/")]
        return read_one(names, archive.open, path, part, notes)


def read_one(names: list[str], open_member: Opener, path: Path, part: str, notes: list[str]) -> AnnData:
    """The chosen sample among file names."""
    by_sample = {found.sample: found for found in find_sets(names)}
    if len(by_sample) == 1 and not part:
        chosen = next(iter(by_sample.values()))
    else:
        chosen = by_sample[choices.choose_part(path, part, list(by_sample), [], "sample", notes)]
    return read_mtx(chosen, open_member, shorten(path.name), notes)


def read_mtx(files: MtxSet, open_member: Opener, label: str, notes: list[str]) -> AnnData:
    """Matrices and names of one sample through a function that opens a file of it."""
    for what, found, wanted in (
        ("genes", files.genes, "features.tsv (or genes.tsv)"),
        ("cells", files.cells, "barcodes.tsv"),
    ):
        if not found:
            raise DatasetError(
                f"'{label}' has a matrix ({shorten(next(iter(files.matrices.values())))}) but no {wanted} of the same "
                "sample.",
                f"The names of the {what} are needed.",
                "Put the three files of one sample together.",
            )
    if files.left:
        notes.append(f"Other matrices of the same cells were not read: {', '.join(map(shorten, files.left[:5]))}.")
    genes = read_genes([(n, unpack(open_member(n))) for n in files.genes], label)
    if list(files.matrices) == [""]:
        return read_single(files, open_member, genes, label, notes)
    return read_layers(files, open_member, genes, label, notes)


def cells_of(files: MtxSet, layer: str, open_member: Opener, label: str) -> Names:
    """The names of the cells of one matrix: its own, or those that serve all."""
    own = files.cells.get(layer) or files.cells.get("") or next(iter(files.cells.values()))
    return read_cells([(n, unpack(open_member(n))) for n in own], label)


def read_single(files: MtxSet, open_member: Opener, genes: Names, label: str, notes: list[str]) -> AnnData:
    """A sample with one matrix; those of alevin-fry and STARsolo's Velocyto hold three parts of the counts."""
    name, cells = files.matrices[""], cells_of(files, "", open_member, label)
    head = read_head(name, open_member, label)
    if third := usa_genes(genes, head.shape):
        notes.append(SIDE_BY_SIDE)
        cells, _, _ = fit(cells, tripled(third), head, files, label, notes)
        n = len(third)
        layers = {
            layer: load(open_member, head, (len(cells), n), True, notes, first_gene=i * n)
            for i, (_, layer) in enumerate(USA)
        }
        return AnnData(obs=cells.frame(), var=third.frame(), layers=layers)
    cells, genes, turned = fit(cells, genes, head, files, label, notes)
    shape = len(cells), len(genes)
    if head.n_fields == 2 + len(VELOCYTO):
        notes.append(SIDE_BY_SIDE)
        layers = {layer: load(open_member, head, shape, turned, notes, value=i) for i, layer in enumerate(VELOCYTO)}
        return AnnData(obs=cells.frame(), var=genes.frame(), layers=layers)
    return AnnData(X=load(open_member, head, shape, turned, notes), obs=cells.frame(), var=genes.frame())


def read_layers(files: MtxSet, open_member: Opener, genes: Names, label: str, notes: list[str]) -> AnnData:
    """A sample with a matrix for each part of its counts (spliced.mtx, unspliced.mtx), over all of their cells."""
    heads = {layer: read_head(name, open_member, label) for layer, name in files.matrices.items()}
    fitted = {
        layer: fit(cells_of(files, layer, open_member, label), genes, head, files, label, notes)
        for layer, head in heads.items()
    }
    frames = {layer: cells.frame() for layer, (cells, _, _) in fitted.items()}
    var = next(iter(fitted.values()))[1].frame()
    names = list(dict.fromkeys(name for frame in frames.values() for name in frame.index))
    first = next(iter(frames.values()))
    if all(frame.index.equals(first.index) for frame in frames.values()):
        obs, places = first, dict.fromkeys(frames)
    else:
        place = {name: i for i, name in enumerate(names)}
        obs = pd.DataFrame(index=pd.Index(names, dtype=object))
        places = {layer: np.array([place[n] for n in frame.index]) for layer, frame in frames.items()}
        notes.append("The parts of the counts name different cells; all of them are kept, with 0 where one has none.")
    shape = len(obs), len(var)
    loaded = {
        layer: load(open_member, head, shape, fitted[layer][2], notes, cell_places=places[layer])
        for layer, head in heads.items()
    }
    return AnnData(X=loaded.pop("", None), obs=obs, var=var, layers=loaded)


@dataclass(frozen=True)
class Head:
    """What the first lines of a Matrix Market file say; `n_fields` of a line: row, column and values."""

    name: str
    label: str
    shape: tuple[int, int]
    n_entries: int
    n_fields: int


def read_head(name: str, open_member: Opener, label: str) -> Head:
    """The head of a matrix, and what its first entry looks like."""
    with unpack(open_member(name)) as stream:
        n_rows, n_columns, n_entries = read_mtx_header(stream, label)
        n_fields = len(stream.readline().split()) if n_entries else 3
    return Head(name, label, (n_rows, n_columns), n_entries, n_fields)


def usa_genes(genes: Names, shape: tuple[int, int]) -> Names | None:
    """The genes of a matrix with three columns a gene (alevin-fry), or None for any other matrix."""
    n, first = len(genes) // 3, [row[0] for row in genes.rows]
    if (
        n
        and len(genes) == 3 * n == shape[1]
        and all(first[i * n : (i + 1) * n] == [name + mark for name in first[:n]] for i, (mark, _) in enumerate(USA))
    ):
        return Names(genes.rows[:n], is_genes=True)
    return genes if genes.rows and shape[1] == 3 * len(genes) != shape[0] else None


def tripled(genes: Names) -> Names:
    """As many names as such a matrix has columns."""
    return Names(genes.rows * len(USA), is_genes=True)


def fit(
    cells: Names, genes: Names, head: Head, files: MtxSet, label: str, notes: list[str]
) -> tuple[Names, Names, bool]:
    """(cells, genes, is the matrix cells x genes), without headers where the numbers of names say that there are any.

    Raises
    ------
    DatasetError
        The numbers of names are not those of the matrix.
    """
    cells_first = bool(re.search(r"cells_x_genes|quants_mat|count_matrix|dge", head.name.lower()))
    for c, g in itertools.product((cells, cells.without_header()), (genes, genes.without_header())):
        for turned in (True, False) if cells_first else (False, True):
            if c is None or g is None or head.shape != ((len(c), len(g)) if turned else (len(g), len(c))):
                continue
            if turned and "The matrix is stored cells x genes." not in notes:
                notes.append("The matrix is stored cells x genes.")
            return c, g, turned
    raise DatasetError(
        f"In '{label}' the matrix is {head.shape[0]:,} x {head.shape[1]:,}, but {len(genes):,} features and "
        f"{len(cells):,} barcodes are named.",
        "The three files must belong together.",
        "Take all three from the same output folder.",
    )


def load(
    open_member: Opener,
    head: Head,
    shape: tuple[int, int],
    turned: bool,
    notes: list[str],
    *,
    value: int = 0,
    first_gene: int = 0,
    cell_places: np.ndarray | None = None,
) -> sp.csr_matrix | CSRDataset:
    """The cells x genes matrix of a file, or of a part of its columns.

    Parameters
    ----------
    value
        Which of the values of an entry.
    first_gene
        The first column that counts, where several parts stand side by side.
    cell_places
        int64, the row for each cell of the file; None keeps them.
    """

    def chunks() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        with unpack(open_member(head.name)) as stream:
            read_mtx_header(stream, head.label)
            for cells, genes, values in mtx_entries(stream, turned, head, value):
                if first_gene or head.shape[turned] > shape[1]:
                    inside = (genes >= first_gene) & (genes < first_gene + shape[1])
                    cells, genes, values = cells[inside], genes[inside] - first_gene, values[inside]
                yield (cells if cell_places is None else cell_places[cells]), genes, values

    return assemble(chunks(), shape, notes)


def read_mtx_header(stream: BinaryIO, label: str) -> tuple[int, int, int]:
    """Rows, columns and entries from the head of a Matrix Market file; the stream is left at the first entry."""
    first = stream.readline(2**16).decode("ascii", "replace").lower().split()
    if len(first) < 4 or first[0] != "%%matrixmarket":
        raise DatasetError(
            f"The matrix of '{label}' does not begin like a Matrix Market file.",
            "A first line '%%MatrixMarket matrix coordinate integer general' is needed.",
            "Export the matrix again.",
        )
    if first[2] != "coordinate" or first[3] not in MTX_NUMBERS or first[4:] not in ([], ["general"]):
        raise DatasetError(
            f"The matrix of '{label}' is not a sparse Matrix Market file of numbers, but '{' '.join(first[1:])[:60]}'.",
            "A first line '%%MatrixMarket matrix coordinate integer general' is needed.",
            "Export it again as a sparse matrix with its values.",
        )
    line = stream.readline(2**20)
    while line.startswith(b"%") or line.strip() == b"":
        if not line:
            raise DatasetError(
                f"The matrix of '{label}' ends in its first lines.", "", "Copy or download the file again."
            )
        line = stream.readline(2**20)
    sizes = line.split()
    if len(sizes) != 3 or not all(size.isdigit() for size in sizes):
        raise DatasetError(
            f"The matrix of '{label}' does not say its size: '{line[:40].decode('ascii', 'replace').strip()}'.",
            "Rows, columns and entries are needed.",
            "Export the matrix again.",
        )
    n_rows, n_columns, n_entries = map(int, sizes)
    return n_rows, n_columns, n_entries


def mtx_entries(
    stream: BinaryIO, turned: bool, head: Head, value: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(cells, genes, values) chunks of a Matrix Market body, which must be complete."""
    n_read, shape, label = 0, head.shape, head.label
    if head.n_entries == 0:
        return
    reader = pd.read_csv(
        stream,
        sep=r"\s+",
        header=None,
        names=["row", "column", *(f"value{i}" for i in range(head.n_fields - 2))],
        usecols=["row", "column", f"value{value}"],
        chunksize=LINES_PER_CHUNK,
        comment="%",
        dtype={"row": np.int32, "column": np.int32},
    )
    for chunk in reader:
        values = chunk[f"value{value}"].to_numpy()
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
        if n_read > head.n_entries:
            break
        yield (rows, columns, values) if turned else (columns, rows, values)
    if n_read != head.n_entries:
        what = "is cut short" if n_read < head.n_entries else "is longer than it says"
        raise DatasetError(
            f"The matrix of '{label}' {what}: {n_read:,} of {head.n_entries:,} entries are there.",
            "",
            "Copy or download the file again.",
        )


def describe_below(path: Path) -> DatasetError:
    """The refusal of a folder that is no dataset, with the datasets that lie in it or below."""
    name, found, n_files = shorten(path.name), [], 0
    for folder, below, files in os.walk(path):
        depth = len(Path(folder).relative_to(path).parts)
        below[:] = sorted(b for b in below if not is_hidden(b)) if depth < MAX_DEPTH else []
        n_files += 1
        if depth and is_dataset_folder(files):
            found.append(Path(folder).relative_to(path).as_posix())
            below[:] = []
        else:
            files = [f for f in sorted(files) if is_dataset_file(f) and describe(f) is None]
            found += [(Path(folder) / f).relative_to(path).as_posix() for f in files]
        if n_files > MAX_FILES:
            break
    # Folders and files that are surely datasets come before tables and archives, which may be anything.
    found = [f for f in found if f.lower().endswith(DATASET_SUFFIXES) or (path / f).is_dir()] or found
    found.sort(key=lambda f: UNFILTERED.search(f) is not None)  # droplets without a cell are seldom meant
    if any((path / eds).exists() for eds in EDS):
        return DatasetError(
            f"The folder '{name}' holds the counts of salmon alevin in its own binary form (EDS), which is not read.",
            "quants_mat.mtx with its rows and columns is needed.",
            "Run alevin with --dumpMtx (alevin-fry: quant --use-mtx), or read it with tximport and write .h5ad.",
        )
    if found:
        return ChoiceError(
            f"The folder '{name}' is no dataset itself, but holds {len(found):,} that may be: {choices.listed(found)}.",
            "One dataset is needed.",
            f"Open one of them, for example {path.name}/{found[0]}.",
            choices=tuple(f"{path.name}/{f}" for f in found),
        )
    is_soma = any(p.name.startswith("__") and p.is_dir() for p in path.iterdir())
    return DatasetError(
        f"The folder '{name}' is neither a .zarr store nor a folder with a matrix (.mtx) and its names"
        f"{'; it looks like a TileDB (SOMA) store' if is_soma else ''}.",
        f"Readable formats: {FORMATS}.",
        "Write it as .h5ad with tiledbsoma.io.to_h5ad."
        if is_soma
        else "Choose a single file, or the folder that holds matrix.mtx itself.",
    )
