"""Counts by genes: a copy of a dataset's counts in gene-major (CSC) order, made once, because one gene read from
row-major storage costs a scan of all cells.

A store is a folder of plain arrays that are mapped into memory: reading a gene touches its own bytes only. It holds the
counts as they are (whole numbers below 65,536 in two bytes) of every gene, and every name that the genes go by.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scfviz.data.disk import reserve
from scfviz.data.gene_index import GeneIndex
from scfviz.data.normalise import log_values
from scfviz.errors import DatasetError, GeneError, Stopped

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts

VERSION = 2
ENTRIES_PER_BLOCK = 4_000_000
LARGEST_SMALL = 65_535  # fits two bytes
_SPARE_BYTES = 512 * 2**20


class GeneStore:
    """Counts of a dataset by genes; see `build_gene_store`.

    Attributes
    ----------
    genes, index
        What the genes are called, (n_genes,), and every name that they go by.
    is_measured
        bool (n_genes,): whether the dataset holds the gene at all.
    n_obs
        Number of cells.
    total_counts
        Counts of each cell over all these genes, float64 (n_obs,).
    """

    def __init__(self, folder: Path):
        self.folder = folder
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        self.n_obs = int(about["n_obs"])
        self.index = GeneIndex(*(tuple(about[part]) for part in ("genes", "symbols", "others")))
        self.genes = np.array(self.index.names, dtype=object)
        self.is_measured = np.load(folder / "is_measured.npy", allow_pickle=False)
        self.total_counts = np.load(folder / "total_counts.npy", allow_pickle=False)
        self._indptr = np.load(folder / "indptr.npy", allow_pickle=False)
        self._cells = _open_array(folder / "cells.bin", np.dtype(np.int32), int(self._indptr[-1]))
        self._counts = _open_array(folder / "counts.bin", np.dtype(about["dtype"]), int(self._indptr[-1]))

    def counts(self, gene: str | int) -> tuple[np.ndarray, np.ndarray]:
        """Cells with counts of a gene and their counts: int32 (k,) ascending, float32 (k,).

        Raises
        ------
        GeneError
            The gene is unknown, or was not measured, which is not the same as no counts.
        """
        position = self._find(gene)
        low, high = int(self._indptr[position]), int(self._indptr[position + 1])
        return np.array(self._cells[low:high]), self._counts[low:high].astype(np.float32)

    def values(self, gene: str | int) -> np.ndarray:
        """ln(1 + counts per 10,000) of a gene in every cell: float32 (n_obs,); NaN for a cell without any counts.

        Raises
        ------
        GeneError
            The gene is unknown or was not measured.
        """
        cells, counts = self.counts(gene)
        values = np.where(self.total_counts > 0, np.float32(0), np.float32(np.nan))
        values[cells] = log_values(counts, self.total_counts[cells])
        return values

    def blocks(
        self,
        genes: np.ndarray | None = None,
        *,
        cells: np.ndarray | None = None,
        progress: Callable[[float], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Iterator[tuple[np.ndarray, sp.csc_matrix]]:
        """(positions of some genes, their ln(1 + counts per 10,000)); see `Expression.blocks` of `analysis.expression`.

        A cell without any counts has zeros here.
        """
        wanted = np.flatnonzero(self.is_measured) if genes is None else np.asarray(genes, dtype=np.int64)
        row_of = None
        if cells is not None:
            cells = np.asarray(cells)
            if len(np.unique(cells)) < len(cells):
                raise DatasetError("A cell was asked for twice.", "Each cell can be read once.")
            row_of = np.full(self.n_obs, -1, np.int32)
            row_of[cells] = np.arange(len(cells), dtype=np.int32)
        n_rows = self.n_obs if cells is None else len(cells)
        sizes = np.diff(self._indptr)[wanted]
        done = 0
        while done < len(wanted):
            if should_stop is not None and should_stop():
                raise Stopped
            fits = int(np.searchsorted(np.cumsum(sizes[done:]), ENTRIES_PER_BLOCK, side="right"))
            part = wanted[done : done + max(1, fits)]
            yield part, self._block(part, row_of, n_rows)
            done += len(part)
            if progress is not None:
                progress(done / len(wanted))

    def _block(self, part: np.ndarray, row_of: np.ndarray | None, n_rows: int) -> sp.csc_matrix:
        rows, values, indptr = [], [], [0]
        for position in part:
            low, high = int(self._indptr[position]), int(self._indptr[position + 1])
            cells, counts = self._cells[low:high], self._counts[low:high].astype(np.float32)
            expressed = log_values(counts, self.total_counts[cells])
            if row_of is not None:
                kept = row_of[cells] >= 0
                cells, expressed = row_of[cells[kept]], expressed[kept]
            rows.append(cells)
            values.append(expressed)
            indptr.append(indptr[-1] + len(cells))
        return sp.csc_matrix((np.concatenate(values), np.concatenate(rows), indptr), shape=(n_rows, len(part)))

    def _find(self, gene: str | int) -> int:
        position = self.index.find(gene) if isinstance(gene, str) else int(gene)
        if not 0 <= position < len(self.genes):
            raise GeneError(f"There is no gene number {position:,}.", f"There are {len(self.genes):,}.")
        if not self.is_measured[position]:
            raise GeneError(
                f"{self.genes[position]} was not measured in this dataset.",
                "Not measured is not the same as zero: nothing is known about this gene here.",
                "Choose another gene.",
            )
        return position


def open_gene_store(folder: Path) -> GeneStore | None:
    """A store that was built before; `None` where there is none or it is damaged, so that it has to be built."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        return GeneStore(folder) if about.get("version") == VERSION else None
    except (OSError, ValueError, KeyError):
        return None


def build_gene_store(
    counts: "AlignedCounts",
    folder: Path,
    *,
    progress: Callable[[float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> GeneStore:
    """Write the counts of a dataset by genes, in one pass over it (two where nothing was counted before), with
    memory for one block of cells.

    Parameters
    ----------
    counts
        The dataset.
    folder
        Where the store shall be. It appears there complete or not at all; what was there before is replaced.
    progress
        Called with the share that is done, 0 to 1.
    should_stop
        Asked after each block; True ends with `Stopped` and leaves nothing behind.

    Raises
    ------
    DatasetError
        The disk has no room, or the file changed meanwhile.
    """
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        _write(counts, work, _Watch(counts.n_obs * (1 + (counts.entries is None)), progress, should_stop))
        if folder.exists():
            folder.rename(work / "last")
        os.rename(work, folder)
        shutil.rmtree(folder / "last", ignore_errors=True)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return GeneStore(folder)


class _Watch:
    """Progress over all passes, and whether to stop."""

    def __init__(self, n_cells: int, progress: Callable[[float], None] | None, should_stop: Callable[[], bool] | None):
        self.n_cells, self.progress, self.should_stop, self.seen = n_cells, progress, should_stop, 0

    def __call__(self, cells: int) -> None:
        if self.should_stop is not None and self.should_stop():
            raise Stopped
        self.seen += cells
        if self.progress is not None:
            self.progress(self.seen / self.n_cells)


def _write(counts: "AlignedCounts", work: Path, watch: _Watch) -> None:
    per_gene, totals, dtype = _survey(counts, watch) if counts.entries is None else _known(counts)
    indptr = np.concatenate([[0], np.cumsum(per_gene)]).astype(np.int64)
    n_entries = int(indptr[-1])
    needed = n_entries * (4 + dtype.itemsize)
    if shutil.disk_usage(work).free < needed + _SPARE_BYTES:
        raise DatasetError(
            f"Reading genes quickly needs {needed / 1e9:.1f} GB in the workspace, which are not free.",
            "The counts are kept a second time, ordered by genes.",
            "Free space on the disk, or set SCFVIZ_WORKSPACE to a larger one.",
        )
    cells = _make_array(work / "cells.bin", np.dtype(np.int32), n_entries)
    values = _make_array(work / "counts.bin", dtype, n_entries)
    next_place = indptr[:-1].copy()
    for start, block in counts.blocks():
        by_gene = block.tocsc()
        sizes = np.diff(by_gene.indptr)
        # Entry k of a gene goes k places after those that came with earlier cells.
        places = np.repeat(next_place - by_gene.indptr[:-1], sizes) + np.arange(by_gene.nnz)
        cells[places] = by_gene.indices + np.int32(start)
        values[places] = by_gene.data.astype(dtype)
        next_place += sizes
        watch(block.shape[0])
    if not np.array_equal(next_place, indptr[1:]):
        raise DatasetError(
            "The counts are no longer those that were checked.",
            "A dataset must not change while it is read.",
            "Open it again.",
        )
    for array in (cells, values):
        if isinstance(array, np.memmap):
            array.flush()
    np.save(work / "indptr.npy", indptr)
    np.save(work / "total_counts.npy", totals)
    np.save(work / "is_measured.npy", counts.is_measured)
    about = {"version": VERSION, "n_obs": counts.n_obs, "dtype": dtype.str}
    about |= {"genes": counts.index.names, "symbols": counts.index.symbols, "others": counts.index.others}
    (work / "about.json").write_text(json.dumps(about), encoding="utf-8")


def _known(counts: "AlignedCounts") -> tuple[np.ndarray, np.ndarray, np.dtype]:
    """What `_survey` finds, from the check of all values."""
    is_small = counts.counts_report.max_count <= LARGEST_SMALL
    return counts.entries, counts.total_counts, np.dtype(np.uint16 if is_small else np.float32)


def _survey(counts: "AlignedCounts", watch: _Watch) -> tuple[np.ndarray, np.ndarray, np.dtype]:
    """Entries per gene, counts per cell, and the smallest type that holds every count exactly."""
    per_gene, totals = np.zeros(counts.n_genes, np.int64), np.zeros(counts.n_obs)
    is_small = True
    for start, block in counts.blocks():
        per_gene += np.bincount(block.indices, minlength=counts.n_genes)
        totals[start : start + block.shape[0]] = np.asarray(block.sum(axis=1, dtype=np.float64)).ravel()
        if is_small and block.nnz:
            is_small = bool(
                block.data.min() >= 0
                and block.data.max() <= LARGEST_SMALL
                and (block.data == np.rint(block.data)).all()
            )
        watch(block.shape[0])
    return per_gene, totals, np.dtype(np.uint16 if is_small else np.float32)


def _make_array(path: Path, dtype: np.dtype, size: int) -> np.ndarray:
    if size == 0:  # an empty file cannot be mapped
        path.touch()
        return np.empty(0, dtype)
    path.touch()
    reserve(path, size * dtype.itemsize)
    return np.memmap(path, dtype, "r+", shape=(size,))


def _open_array(path: Path, dtype: np.dtype, size: int) -> np.ndarray:
    if path.stat().st_size != size * dtype.itemsize:
        raise ValueError(f"{path.name} is incomplete")
    return np.memmap(path, dtype, "r", shape=(size,)) if size else np.empty(0, dtype)
