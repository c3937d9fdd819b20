"""Reading a training corpus: any cell at any time, without loading the rest."""

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from scfviz.errors import DatasetError

FORMAT = 1
MANIFEST, GENES, SOURCES = "manifest.json", "genes.tsv", "sources"
OPEN_SHARDS = 512  # mapped at a time

Split = Literal["train", "held-out cells", "held-out datasets"]


@dataclass(frozen=True)
class CorpusCell:
    """One cell: gene numbers (ascending), raw counts, and where it comes from."""

    genes: np.ndarray
    counts: np.ndarray
    source: int
    file_row: int


class Corpus:
    """A corpus folder, opened for reading.

    Attributes
    ----------
    manifest
        The stored manifest.
    genes
        Gene order.
    fingerprint
        16 hexadecimal digits that stand for the content: gene order and checksums of all datasets with their splits.

    Raises
    ------
    DatasetError
        The folder is no corpus, or was written by another version.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        try:
            self.manifest: dict[str, Any] = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            self.genes = tuple((self.folder / GENES).read_text(encoding="utf-8").split("\n")[1:-1])
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"'{self.folder}' is no training corpus ({error}).",
                f"A corpus folder holds {MANIFEST} and {GENES}.",
                "Build one with `scfviz corpus build FILES --out DIR`.",
            ) from error
        if self.manifest.get("format") != FORMAT:
            raise DatasetError(
                f"The corpus '{self.folder}' has format {self.manifest.get('format')}.",
                f"This scfviz reads format {FORMAT}.",
                "Build the corpus again.",
            )
        self.sources: list[dict[str, Any]] = self.manifest["sources"]
        self._shards: dict[Split, list[tuple[int, int]]] = {}
        self._ends: dict[Split, np.ndarray] = {}
        for split in ("train", "held-out cells", "held-out datasets"):
            shards, sizes = [], []
            for i, source in enumerate(self.sources):
                if source["is_held_out"] != (split == "held-out datasets"):
                    continue
                for j, shard in enumerate(source["shards"]):
                    shards.append((i, j))
                    sizes.append(shard["n_train"] if split == "train" else shard["n_cells"] - shard["n_train"])
            self._shards[split] = shards
            self._ends[split] = np.cumsum(np.asarray(sizes, dtype=np.int64))
        self._open = functools.lru_cache(maxsize=OPEN_SHARDS)(self._map_shard)
        self._measured = functools.lru_cache(maxsize=None)(self._read_measured)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that stand for the genes and the cells kept of every source."""
        identity = [self.genes, [(s["name"], s["sha256"], s["is_held_out"], s["n_kept"]) for s in self.sources]]
        if (column := self.manifest["options"].get("hold_out_by")) is not None:
            identity.append(column)
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]

    def n_cells(self, split: Split = "train") -> int:
        """Number of cells of a split."""
        ends = self._ends[split]
        return int(ends[-1]) if len(ends) else 0

    def cell(self, position: int, split: Split = "train") -> CorpusCell:
        """The cell at a position of a split."""
        ends = self._ends[split]
        if not 0 <= position < self.n_cells(split):
            raise IndexError(f"{position} of {self.n_cells(split)} cells ({split})")
        at = int(np.searchsorted(ends, position, side="right"))
        source, shard = self._shards[split][at]
        parts = self._open(source, shard)
        listed = parts["train" if split == "train" else "held_out"]
        row = int(listed[position - (int(ends[at - 1]) if at else 0)])
        start, stop = int(parts["indptr"][row]), int(parts["indptr"][row + 1])
        return CorpusCell(
            parts["indices"][start:stop].astype(np.int32),
            parts["data"][start:stop].astype(np.float32),
            source,
            int(parts["file_rows"][row]),
        )

    def is_measured(self, source: int) -> np.ndarray:
        """bool of shape (n_genes,): the genes that a dataset reports."""
        return self._measured(source)

    def describe_cell(self, cell: CorpusCell) -> str:
        """Where a cell comes from, in words."""
        source = self.sources[cell.source]
        return f"row {cell.file_row + 1} of {source['file']}"

    def _map_shard(self, source: int, shard: int) -> dict[str, np.ndarray]:
        folder = self.folder / SOURCES / self.sources[source]["name"] / f"shard-{shard:03d}"
        names = ("indptr", "indices", "data", "train", "held_out", "file_rows")
        # np.asarray drops memmap's class, whose slicing costs several times as much
        return {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)) for name in names}

    def _read_measured(self, source: int) -> np.ndarray:
        return np.load(self.folder / SOURCES / self.sources[source]["name"] / "is_measured.npy", allow_pickle=False)

    def __getstate__(self) -> dict[str, Any]:  # worker processes map the files themselves
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["folder"])


def shuffled(positions: np.ndarray, n: int, key: int) -> np.ndarray:
    """Where each position goes in a random order of n things, without ever writing the order down.

    A Feistel network of four rounds on the smallest even power of two that holds n; what falls outside walks on. Any
    part of the order is found at once, in constant memory, so a run resumes in the middle of an epoch for free.

    Parameters
    ----------
    positions
        int64, each in [0, n).
    key
        Seed of the order.

    Returns
    -------
    ndarray
        int64 of the same shape; over all positions a permutation of 0..n-1.

    Source: Black and Rogaway 2002, "Ciphers with arbitrary finite domains".
    """
    half = max(1, (max(n - 1, 1).bit_length() + 1) // 2)
    low = np.uint64((1 << half) - 1)
    keys = np.random.SeedSequence(key).generate_state(4, np.uint64)
    values = np.asarray(positions, dtype=np.uint64).copy()
    outside = np.ones(values.shape, dtype=bool)
    while outside.any():
        x = values[outside]
        left, right = x >> np.uint64(half), x & low
        for k in keys:
            mixed = (right + k) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
            mixed *= np.uint64(0xBF58476D1CE4E5B9)
            left, right = right, left ^ ((mixed >> np.uint64(32)) & low)
        values[outside] = (left << np.uint64(half)) | right
        outside[outside] = values[outside] >= np.uint64(n)
    return values.astype(np.int64)
