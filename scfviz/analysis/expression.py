"""Expression by genes: ln(1 + counts per 10,000), read in pieces of bounded size, whatever the file holds."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import scipy.sparse as sp

from scfviz.data.normalise import log_normalise
from scfviz.errors import GeneError, OptionError, Stopped

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts
    from scfviz.data.gene_index import GeneIndex

# One pass over the cells keeps the wanted genes of all cells: 8 bytes for each value above zero.
MAX_BYTES_PER_PASS = 1.5 * 2**30
BYTES_PER_ENTRY = 8
ENTRIES_PER_CHUNK = 4_000_000
# Reading takes about this share of a pass; the rest is done by whoever uses the genes. Only for the progress bar.
READING_SHARE = 0.7

Progress = Callable[[float], None]
ShouldStop = Callable[[], bool]


class Expression(Protocol):
    """Log-normalised expression that can be read by genes.

    Attributes
    ----------
    genes
        What the genes are called, (n_genes,).
    index
        Every name that they go by.
    is_measured
        bool (n_genes,): whether the dataset holds the gene at all.
    n_obs
        Number of cells.
    """

    genes: np.ndarray
    index: "GeneIndex"
    is_measured: np.ndarray
    n_obs: int

    def blocks(
        self,
        genes: np.ndarray | None = None,
        *,
        cells: np.ndarray | None = None,
        progress: Progress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Iterator[tuple[np.ndarray, sp.csc_matrix]]:
        """(positions of some genes, their ln(1 + counts per 10,000)) until all wanted genes have come.

        Parameters
        ----------
        genes
            Positions among `self.genes`; None takes every measured gene.
        cells
            Positions of cells, in the order of the rows that are wanted; None takes all.
        progress
            Called with the share of the work that is done, 0 to 1.
        should_stop
            Asked between two pieces; True ends with `Stopped`.

        Yields
        ------
        int64 (k,) and CSC float32 (n_cells, k) without stored zeros.
        """
        ...


class AlignedExpression:
    """`Expression` of counts that are read by cells: one pass over the file, more where memory asks for it."""

    def __init__(self, counts: "AlignedCounts"):
        self.counts, self.index = counts, counts.index
        self.genes, self.is_measured, self.n_obs = counts.genes, counts.is_measured, counts.n_obs

    def blocks(
        self,
        genes: np.ndarray | None = None,
        *,
        cells: np.ndarray | None = None,
        progress: Progress | None = None,
        should_stop: ShouldStop | None = None,
    ) -> Iterator[tuple[np.ndarray, sp.csc_matrix]]:
        """See `Expression.blocks`."""
        counts = self.counts if cells is None else self.counts.subset(np.asarray(cells))
        wanted = np.flatnonzero(self.is_measured) if genes is None else np.asarray(genes, dtype=np.int64)
        if not len(wanted) or not counts.n_obs:
            return
        passes = _plan_passes(counts, wanted)
        for number, positions in enumerate(passes):
            done = _share_of_pass(progress, number, len(passes))
            pieces = []
            for start, block in counts.blocks():
                if should_stop is not None and should_stop():
                    raise Stopped
                pieces.append((start, log_normalise(block)[:, positions].tocsc()))
                done(READING_SHARE * (start + block.shape[0]) / counts.n_obs)
            entries = np.sum([np.diff(piece.indptr) for _, piece in pieces], axis=0, dtype=np.int64)
            for low, high in _chunks(entries):
                if should_stop is not None and should_stop():
                    raise Stopped
                yield positions[low:high], _stack(pieces, low, high, counts.n_obs)
                done(READING_SHARE + (1 - READING_SHARE) * high / len(positions))


def read_columns(
    expression: Expression, genes: np.ndarray, *, cells: np.ndarray | None = None, progress: Progress | None = None
) -> sp.csc_matrix:
    """ln(1 + counts per 10,000) of a few genes, CSC float32 (n_cells, len(genes)), in the order of `genes`."""
    genes = np.asarray(genes, dtype=np.int64)
    n_cells = expression.n_obs if cells is None else len(cells)
    parts = [block for _, block in expression.blocks(genes, cells=cells, progress=progress)]
    return sp.hstack(parts, format="csc", dtype=np.float32) if parts else sp.csc_matrix((n_cells, 0), dtype=np.float32)


def read_gene(expression: Expression, name: str) -> np.ndarray:
    """ln(1 + counts per 10,000) of one gene by name, symbol, alias or Ensembl ID, float32 (n_obs,).

    Raises
    ------
    GeneError
        The gene is unknown or was not measured.
    """
    return read_columns(expression, find_genes(expression, [name])).toarray().ravel()


def find_genes(expression: Expression, names: Sequence[str]) -> np.ndarray:
    """Positions of genes by the file's own name, symbol, alias or Ensembl ID, int64 (len(names),).

    Raises
    ------
    GeneError
        A name is unknown or stands for several genes (`GeneNameError`, with candidates), or the gene was not measured
        in this dataset: its expression is not zero but not known.
    """
    found = [expression.index.find(name) for name in names]
    missing = [str(name) for name, i in zip(names, found, strict=True) if not expression.is_measured[i]]
    if missing:
        raise GeneError(
            f"{_list(missing)} {'was' if len(missing) == 1 else 'were'} not measured in this dataset.",
            "Not measured is not the same as zero: nothing can be said about such a gene.",
            "Choose genes that the file holds.",
        )
    return np.array(found, dtype=np.int64)


def known_genes(expression: Expression, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """(positions of the measured genes among `names`, each once, ascending; names unknown or not measured)."""
    found, left_out = expression.index.known(names)
    left_out += [str(expression.genes[i]) for i in found if not expression.is_measured[i]]
    return np.array(sorted(i for i in found if expression.is_measured[i]), dtype=np.int64), left_out


def read_mask(mask: np.ndarray, n_obs: int, what: str) -> np.ndarray:
    """A bool mask over the cells, checked.

    Raises
    ------
    OptionError
        It is no mask of `n_obs` values.
    """
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (n_obs,):
        raise OptionError(
            f"{what} is given by {mask.size:,} values of type {mask.dtype} for {n_obs:,} cells.",
            "One true or false for each cell is needed.",
        )
    return mask


def _list(names: list[str]) -> str:
    shown = ", ".join(f"'{name[:40]}'" for name in names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _share_of_pass(progress: Progress | None, number: int, n_passes: int) -> Progress:
    def done(share: float) -> None:
        if progress is not None:
            progress((number + share) / n_passes)

    return done


def _plan_passes(counts: "AlignedCounts", wanted: np.ndarray) -> list[np.ndarray]:
    """Split genes so that one pass over all cells stays within the memory limit, judged by the first cells."""
    _, first = next(iter(counts.blocks()))
    per_gene = np.bincount(first.indices, minlength=first.shape[1])[wanted] / max(first.shape[0], 1)
    bytes_upto = np.cumsum(per_gene) * counts.n_obs * BYTES_PER_ENTRY
    number = np.floor(bytes_upto / MAX_BYTES_PER_PASS).astype(int)
    return [part for part in np.split(wanted, np.flatnonzero(np.diff(number)) + 1) if len(part)]


def _chunks(entries: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of columns with about `ENTRIES_PER_CHUNK` entries each."""
    number = np.cumsum(entries) // ENTRIES_PER_CHUNK
    bounds = [0, *(np.flatnonzero(np.diff(number)) + 1), len(entries)]
    return zip(bounds[:-1], bounds[1:], strict=True)


def _stack(pieces: list[tuple[int, sp.csc_matrix]], low: int, high: int, n_obs: int) -> sp.csc_matrix:
    """Columns `low` to `high` of blocks of cells, one below the other."""
    values, rows, columns = [], [], []
    for start, piece in pieces:
        part = slice(piece.indptr[low], piece.indptr[high])
        values.append(piece.data[part])
        rows.append(piece.indices[part] + np.int32(start))
        columns.append(np.repeat(np.arange(high - low, dtype=np.int32), np.diff(piece.indptr[low : high + 1])))
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return sp.csc_matrix(entries, shape=(n_obs, high - low))
