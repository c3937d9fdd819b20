"""Writing one dataset into a training corpus: which cells enter, and how they lie on disk."""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from scfviz.data.corpus_reader import FORMAT, MANIFEST, SOURCES

SHARD_CELLS = 16_384
_SPLIT = 1_000_003  # cells fall into this many parts by content


@dataclass(frozen=True)
class CorpusOptions:
    """What makes a cell part of the corpus.

    Attributes
    ----------
    more_than_genes
        Cells must express more model genes than this.
    held_out_cells
        Share of the cells of every training dataset that is kept for validation.
    held_out_datasets
        Share of datasets kept whole for validation, chosen by their content, unless the user names them.
    hold_out_by
        Column of `obs`, for example the donor, whose values are held out whole instead of single cells.
    """

    more_than_genes: int = 200
    held_out_cells: float = 0.02
    held_out_datasets: float = 0.05
    hold_out_by: str | None = None


@dataclass
class SourceRecord:
    """One dataset of a corpus: origin, what was kept, what was dropped and why."""

    name: str
    file: str
    sha256: str
    is_held_out: bool
    licence: str = "not stated"
    origin: dict[str, Any] = field(default_factory=dict)
    tissue: list[str] = field(default_factory=list)
    platform: list[str] = field(default_factory=list)
    n_read: int = 0
    n_kept: int = 0
    n_train: int = 0
    n_values: int = 0
    dropped: dict[str, int] = field(
        default_factory=lambda: {"with too few genes": 0, "duplicates": 0, "reserved for evaluation": 0}
    )
    counts: dict[str, Any] = field(default_factory=dict)
    genes: dict[str, Any] = field(default_factory=dict)
    n_genes_measured: int = 0
    held_out_values: list[str] = field(default_factory=list)
    shards: list[dict[str, int]] = field(default_factory=list)


class SourceWriter:
    """Takes the cells of one dataset block by block; the dataset appears in the corpus when it is whole.

    Parameters
    ----------
    folder
        The corpus.
    record
        Filled while blocks come in.
    is_measured
        bool (n_genes,): genes that the dataset reports.
    reserved
        Sorted fingerprints of cells that must stay out.
    held_out
        bool, one per cell of the file: held out for validation; chosen by content when left out.
    """

    def __init__(
        self,
        folder: Path,
        record: SourceRecord,
        options: CorpusOptions,
        is_measured: np.ndarray,
        reserved: np.ndarray | None = None,
        held_out: np.ndarray | None = None,
    ):
        self.folder, self.record, self.options = folder, record, options
        self.is_measured = np.asarray(is_measured, dtype=bool)
        record.n_genes_measured = int(self.is_measured.sum())
        self._held_out = held_out
        self._reserved = np.empty(0, dtype=np.uint64) if reserved is None else reserved
        self._others = [
            np.load(file, mmap_mode="r", allow_pickle=False)
            for file in sorted((folder / SOURCES).glob("[!.]*/fingerprints.npy"))
        ]
        self._own: list[np.ndarray] = []
        self._pending: list[tuple[csr_matrix, np.ndarray, np.ndarray]] = []
        self._n_pending = 0

    def __enter__(self) -> "SourceWriter":
        self._staging = Path(tempfile.mkdtemp(prefix=f".{self.record.name}-", dir=self.folder / SOURCES))
        return self

    def add(self, block: csr_matrix) -> None:
        """The next cells of the file: raw counts (cells, n_genes), columns sorted, no stored zeros."""
        record, first = self.record, self.record.n_read
        record.n_read += block.shape[0]
        kept = np.flatnonzero(np.diff(block.indptr) > self.options.more_than_genes)
        record.dropped["with too few genes"] += block.shape[0] - len(kept)
        prints = fingerprint_cells(block, kept)
        is_reserved = _is_in(prints, self._reserved)
        record.dropped["reserved for evaluation"] += int(is_reserved.sum())
        kept, prints = kept[~is_reserved], prints[~is_reserved]
        is_new = np.zeros(len(kept), dtype=bool)
        is_new[np.unique(prints, return_index=True)[1]] = True
        for seen in (*self._others, *self._own):
            is_new &= ~_is_in(prints, seen)
        record.dropped["duplicates"] += int((~is_new).sum())
        kept, prints = kept[is_new], prints[is_new]
        self._pending.append((block[kept], kept + first, prints))
        self._n_pending += len(kept)
        self._own.append(np.sort(prints))
        if self._n_pending >= SHARD_CELLS:
            self._write_shard()
            self._own = [np.sort(np.concatenate(self._own))]

    def __exit__(self, kind: type | None, *_rest: object) -> None:
        try:
            if kind is None:
                if self._n_pending:
                    self._write_shard()
                prints = np.concatenate([np.empty(0, dtype=np.uint64), *self._own])
                _save_array(self._staging / "fingerprints.npy", np.sort(prints))
                _save_array(self._staging / "is_measured.npy", self.is_measured)
                write_text(self._staging / "source.json", json.dumps(asdict(self.record), indent=1, default=str) + "\n")
                os.chmod(self._staging, 0o755)
                os.replace(self._staging, self.folder / SOURCES / self.record.name)
        finally:
            shutil.rmtree(self._staging, ignore_errors=True)

    def _write_shard(self) -> None:
        record, parts = self.record, self._pending
        shard = self._staging / f"shard-{len(record.shards):03d}"
        shard.mkdir()
        lengths = np.concatenate([np.diff(part[0].indptr) for part in parts])
        indices = np.concatenate([part[0].indices for part in parts])
        data = np.concatenate([part[0].data for part in parts])
        prints = np.concatenate([part[2] for part in parts])
        _save_array(shard / "indptr.npy", np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))
        _save_array(shard / "indices.npy", indices.astype(np.uint16 if len(self.is_measured) <= 2**16 else np.uint32))
        _save_array(shard / "data.npy", data.astype(_smallest_type(data)))
        file_rows = np.concatenate([part[1] for part in parts])
        _save_array(shard / "file_rows.npy", file_rows.astype(np.uint32))
        # The split follows from a cell's content: it stays when datasets are added or the build is repeated.
        is_train = prints % np.uint64(_SPLIT) >= np.uint64(round(self.options.held_out_cells * _SPLIT))
        if self._held_out is not None:
            is_train = ~self._held_out[file_rows]
        if record.is_held_out:
            is_train[:] = False
        _save_array(shard / "train.npy", np.flatnonzero(is_train).astype(np.uint32))
        _save_array(shard / "held_out.npy", np.flatnonzero(~is_train).astype(np.uint32))
        record.shards.append({"n_cells": len(lengths), "n_train": int(is_train.sum()), "n_values": len(data)})
        record.n_kept += len(lengths)
        record.n_train += int(is_train.sum())
        record.n_values += len(data)
        self._pending, self._n_pending = [], 0


def fingerprint_cells(counts: csr_matrix, rows: np.ndarray) -> np.ndarray:
    """64-bit fingerprints of cells: equal for equal counts on the same genes.

    Returns
    -------
    ndarray
        uint64 of shape (len(rows),). With 50 million cells the chance of any false match is below 1 in 10,000.
    """
    prints = np.empty(len(rows), dtype=np.uint64)
    indices, data = counts.indices.astype(np.uint32), counts.data.astype(np.float32)
    for i, row in enumerate(rows):
        start, stop = counts.indptr[row], counts.indptr[row + 1]
        digest = hashlib.blake2b(indices[start:stop], digest_size=8)
        digest.update(data[start:stop])
        prints[i] = int.from_bytes(digest.digest(), "little")
    return prints


def write_manifest(folder: Path, options: CorpusOptions, failed: dict[str, dict[str, str]]) -> dict[str, Any]:
    """Sum up the finished datasets of a corpus in `manifest.json`."""
    files = sorted((folder / SOURCES).glob("[!.]*/source.json"))
    sources = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    n_cells, n_train = sum(s["n_kept"] for s in sources), sum(s["n_train"] for s in sources)
    of_datasets = sum(s["n_kept"] for s in sources if s["is_held_out"])
    manifest = {
        "format": FORMAT,
        "options": asdict(options),
        "n_cells": n_cells,
        "n_train": n_train,
        "n_held_out_cells": n_cells - n_train - of_datasets,
        "n_held_out_dataset_cells": of_datasets,
        "n_values": sum(s["n_values"] for s in sources),
        "sources": sources,
        "failed": failed,
    }
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return manifest


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    staging = path.with_name(f".{path.name}.writing")
    staging.write_text(text, encoding="utf-8")
    os.replace(staging, path)


def _is_in(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    if not len(ordered):
        return np.zeros(len(values), dtype=bool)
    at = np.searchsorted(ordered, values)
    return ordered[np.minimum(at, len(ordered) - 1)] == values


def _smallest_type(data: np.ndarray) -> type:
    if not np.array_equal(data, np.floor(data)):
        return np.float32
    largest = data.max(initial=0)
    return np.uint16 if largest < 2**16 else np.uint32 if largest < 2**32 else np.float32


def _save_array(path: Path, array: np.ndarray) -> None:
    np.save(path, array, allow_pickle=False)
