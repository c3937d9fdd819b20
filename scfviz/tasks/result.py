"""What a task found, in memory and in a folder. Explorer, export, report and script read nothing else.

report.json             task, version, options, provenance, notes, scores; what the dataset and the model were
kept.npy                int64 (n_kept,): row in the file of each cell that took part
cells.parquet           one row per kept cell
arrays/NAME.npy         first axis: kept cells, unless the task says otherwise
arrays/NAME.csr/        the same of a sparse one: data.npy, indices.npy, indptr.npy, shape.npy
tables/NAME.parquet     beside the array of a layer, by the same name: one row per column of it, with the gene's name,
                        and in `column` its column in the file, -1 where it has none (`OpenedCells.layer_genes`)
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from mmap import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scfviz.errors import JobError

if TYPE_CHECKING:
    import pandas as pd
    from scipy import sparse


@dataclass(frozen=True)
class Result:
    """What a task found.

    Attributes
    ----------
    kept
        int64 (n_kept,): row in the file of each cell that took part.
    cells
        One row per kept cell, by its name.
    arrays, tables
        By name; those of a folder are opened when they are asked for.
    notes
        What the task had to say, in sentences.
    scores
        How well it did, by what was measured.
    report
        Everything else that is known: `task`, `version`, `options`, `provenance`, `dataset`, `n_obs` cells that took
        part and `n_removed` by filters, `counts` and `genes` of the checks, `checkpoint`, `seconds` of each stage.
    """

    kept: np.ndarray
    cells: "pd.DataFrame"
    arrays: Mapping[str, "np.ndarray | sparse.csr_matrix"] = field(default_factory=dict)
    tables: Mapping[str, "pd.DataFrame"] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    scores: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)


def write_result(folder: Path, result: Result) -> None:
    """Write a result to an empty folder. Arrays that lie in the folder `work` beside it are linked, not copied."""
    (folder / "arrays").mkdir()
    (folder / "tables").mkdir()
    np.save(folder / "kept.npy", np.asarray(result.kept, dtype=np.int64))
    storable(result.cells).to_parquet(folder / "cells.parquet")
    for name, values in result.arrays.items():
        if not isinstance(values, np.ndarray) and hasattr(values, "tocsr"):
            _write_csr(folder / "arrays" / f"{name}.csr", values.tocsr())
            continue
        path = folder / "arrays" / f"{name}.npy"
        if not _link(values, folder.with_name("work"), path):
            np.save(path, np.asarray(values))
    for name, table in result.tables.items():
        storable(table).to_parquet(folder / "tables" / f"{name}.parquet")
    about = {**result.report, "notes": list(result.notes), "scores": result.scores}
    text = json.dumps(about, indent=1, allow_nan=False)
    (folder / "report.json").write_text(text, encoding="utf-8")


def read_result(folder: Path) -> Result:
    """The result in a folder; arrays and tables are read when they are asked for, arrays from disk as needed.

    Raises
    ------
    JobError
        There is none, or it was written by an older version.
    """
    import pandas as pd

    report = read_report(folder)
    about = {name: value for name, value in report.items() if name not in ("notes", "scores")}
    return Result(
        kept=np.load(folder / "kept.npy", allow_pickle=False),
        cells=pd.read_parquet(folder / "cells.parquet"),
        arrays=_Stored(folder / "arrays", {".npy": _map_array, ".csr": _map_csr}),
        tables=_Stored(folder / "tables", {".parquet": pd.read_parquet}),
        notes=tuple(report["notes"]),
        scores=report["scores"],
        report=about,
    )


def read_report(folder: Path) -> dict[str, Any]:
    """`report.json` of a result.

    Raises
    ------
    JobError
        See `read_result`.
    """
    try:
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise JobError("The result is not there.", "", "It may have been removed; compute it again.") from None
    if "scores" not in report:
        raise JobError("This result was written by an older version of scfviz.", "", "Compute it again.")
    return report


def _link(values: np.ndarray, work: Path, path: Path) -> bool:
    """Give a file of `work` that holds exactly these values a second name; False where there is none."""
    if not isinstance(values, np.memmap) or not isinstance(values.base, mmap) or values.filename is None:
        return False
    source = Path(values.filename).resolve()
    if source.suffix != ".npy" or not source.is_relative_to(work.resolve()):
        return False
    try:
        os.link(source, path)
    except OSError:  # a file system without links
        return False
    return True


def _map_array(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _write_csr(folder: Path, values: "sparse.csr_matrix") -> None:
    folder.mkdir()
    for name in ("data", "indices", "indptr", "shape"):
        np.save(folder / f"{name}.npy", np.asarray(getattr(values, name)))


def _map_csr(folder: Path) -> "sparse.csr_matrix":
    from scipy import sparse

    data, indices, indptr, shape = (
        _map_array(folder / f"{name}.npy") for name in ("data", "indices", "indptr", "shape")
    )
    return sparse.csr_matrix((data, indices, indptr), shape=tuple(shape.tolist()), copy=False)


class _Stored(Mapping):
    """What lies in a folder by its name without the suffix, each read when it is asked for."""

    def __init__(self, folder: Path, readers: Mapping[str, Callable[[Path], Any]]):
        self._folder, self._readers = folder, readers

    def __getitem__(self, name: str) -> Any:
        for suffix, read in self._readers.items():
            path = self._folder / f"{name}{suffix}"
            if path.exists():
                return read(path)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(path.stem for path in self._folder.glob("*") if path.suffix in self._readers))

    def __len__(self) -> int:
        return len(list(iter(self)))


def storable(table: "pd.DataFrame") -> "pd.DataFrame":
    """A copy of a table that Parquet can hold: columns of mixed things become text, missing values stay missing."""
    table = table.copy(deep=False)
    table.columns = table.columns.astype(str)
    for name in table.columns:
        column = table[name]
        if column.dtype == object:
            table[name] = column.map(str, na_action="ignore").astype("string")
        elif column.dtype == "category" and column.cat.categories.dtype == object:
            table[name] = column.cat.rename_categories([str(value) for value in column.cat.categories])
    table.index = table.index.astype(str)
    return table


def graph_table(graph: "sparse.spmatrix") -> "pd.DataFrame":
    """A graph between cells as a table of its edges: `cell` and `neighbor` (rows among the kept cells), `weight`."""
    import pandas as pd

    edges = graph.tocoo()
    return pd.DataFrame({"cell": edges.row, "neighbor": edges.col, "weight": edges.data})


def read_graph(table: "pd.DataFrame", n: int) -> "sparse.csr_matrix":
    """The graph of `graph_table` between `n` cells."""
    from scipy import sparse

    edges = (table["weight"].to_numpy(), (table["cell"].to_numpy(), table["neighbor"].to_numpy()))
    return sparse.csr_matrix(edges, shape=(n, n))
