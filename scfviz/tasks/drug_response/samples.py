"""Samples of a table: which genes they hold, what their values are, and what cannot be read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scfviz.errors import DatasetError, GeneError

if TYPE_CHECKING:
    from anndata import AnnData

    from scfviz.data.align import AlignedCounts

COUNTS, TPM, LOG, CENTERED = "counts", "tpm", "log", "centered"
KIND_TITLES = {
    COUNTS: "counts",
    TPM: "TPM, FPKM or other values that are no logarithms",
    LOG: "logarithms",
    CENTERED: "logarithms, or scaled within each sample (some are negative)",
}
MIN_GENES, FEW_GENES = 100, 2_000
MOST_SAMPLES = 20_000
MOST_SUMS = 100  # of cells
_LARGEST_LOG = 50.0
_MANY_GENES, _SHARE_OF_CELLS = 2_000, 0.5  # a sample expresses more than half of many genes, a cell fewer


@dataclass(frozen=True)
class Samples:
    """Samples over genes of the model.

    Attributes
    ----------
    names
        Of the samples, unique.
    genes
        Symbols of the model, those that the table holds.
    values
        float32 (n_samples, n_genes), as in the table.
    kind
        What the values are: a key of `KIND_TITLES`.
    notes
        What should be known of the table, in sentences.
    groups
        Columns of the table of samples with few different values, by name: text (n_samples,).
    added_by
        The column by which single cells were added up to these samples; None for samples of a table.
    """

    names: tuple[str, ...]
    genes: tuple[str, ...]
    values: np.ndarray
    kind: str
    notes: tuple[str, ...] = ()
    groups: dict[str, np.ndarray] | None = None
    added_by: str | None = None

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.names)


def open_samples(
    path: Path | str, *, column: str | None = None, by: str | None = None, folders: Sequence[Path] | None = None
) -> Samples:
    """Read a table of samples: h5ad, csv, tsv and what else `read_dataset` reads, samples as rows or as columns.

    Parameters
    ----------
    column
        Column of the gene table that holds names; None chooses by content.
    by
        The file holds counts of single cells: a column of theirs, a sample for each of its values.
    folders
        As in `read_dataset`.

    Raises
    ------
    DatasetError, GeneError
        See `read_samples` and `add_cells`.
    """
    if by is not None:
        from scfviz.data.open import open_dataset

        return add_cells(open_dataset(path, folders=folders, column=column).align(), by)
    from scfviz.data.read import read_dataset

    return read_samples(read_dataset(path, folders=folders), column=column)


def read_samples(adata: "AnnData", *, column: str | None = None) -> Samples:
    """Samples of a dataset: genes matched, kind of the values recognised.

    Parameters
    ----------
    adata
        Samples x genes. It is not changed.

    Raises
    ------
    DatasetError
        There is no `X`, values are missing, standardised over samples, or a sample is constant; single cells.
    GeneError
        Too few genes are known.
    """
    from scfviz.data.align import with_unique_names
    from scfviz.data.genes import match_genes

    if adata.X is None:
        raise DatasetError("The file holds no matrix X.", "Values of samples are read from it.", "Put them there.")
    if adata.n_obs > MOST_SAMPLES:
        raise DatasetError(
            f"The table holds {adata.n_obs:,} rows.",
            f"At most {MOST_SAMPLES:,} samples are read at once.",
            "If they are single cells, use the tab for cells; else split the table.",
        )
    values = _dense(adata)
    match = match_genes(adata.var, column=column, accept_few=True)
    known = np.unique(match.target[match.target >= 0])
    if len(known) < MIN_GENES:
        raise GeneError(
            f"{len(known):,} of the {adata.n_vars:,} genes in the table are known.",
            f"At least {MIN_GENES} are needed.",
            "Give a table with gene symbols or Ensembl IDs for one of its sides, with more of the measured genes.",
        )
    if not np.isfinite(values[:, match.target >= 0]).all():
        raise DatasetError(
            "The table holds missing or infinite values.", "Each gene of a sample needs one.", "Fill or remove them."
        )
    kind = kind_of(values[:, match.target >= 0])
    merged, notes = _merge(values, match.target, known, kind)
    obs = with_unique_names(adata.obs)
    names = tuple(map(str, obs.index))
    _refuse(merged, kind, names)
    if len(set(map(str, adata.obs.index))) < adata.n_obs:
        notes.append("Names of samples repeat; a number tells them apart.")
    notes += _twins(merged, names)
    genes = tuple(match.genes[i] for i in known)
    return Samples(names, genes, merged, kind, tuple(notes), _groups(obs))


def add_cells(counts: "AlignedCounts", column: str) -> Samples:
    """Samples made of single cells: their counts added up.

    Parameters
    ----------
    counts
        In the model's gene order.
    column
        Of the cells: a sample for each of its values.

    Raises
    ------
    DatasetError
        There is no such column, or it has too many values.
    """
    if column not in counts.obs:
        have = ", ".join(f"'{name}'" for name in list(counts.obs)[:20]) or "none"
        raise DatasetError(
            f"The cells have no column '{column}'.", "Their counts are added up by one.", f"There is: {have}."
        )
    names, codes = np.unique(counts.obs[column].astype(str).to_numpy(), return_inverse=True)
    if len(names) > MOST_SUMS:
        raise DatasetError(
            f"The column '{column}' has {len(names):,} different values.",
            f"Cells are added up to at most {MOST_SUMS} samples.",
            "Give a column such as donor or cluster.",
        )
    sums = np.zeros((len(names), counts.n_genes))
    for start, block in counts.blocks():
        rows = codes[start : start + block.shape[0]]
        chooser = sp.csr_matrix((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(len(names), len(rows)))
        sums += (chooser @ block).toarray()
    chosen = np.flatnonzero(sums.sum(axis=1) > 0)
    measured = np.flatnonzero(counts.is_measured)
    note = f"{counts.n_obs:,} cells were added up by '{column}'; sums of single cells are no bulk samples."
    return Samples(
        tuple(names[chosen]),
        tuple(counts.genes[measured]),
        sums[np.ix_(chosen, measured)].astype(np.float32),
        COUNTS,
        (note,),
        added_by=column,
    )


def kind_of(values: np.ndarray) -> str:
    """What values are: a key of `KIND_TITLES`."""
    if (values < 0).any():
        return CENTERED
    if (values == np.rint(values)).all():
        return COUNTS
    return TPM if values.max(initial=0) > _LARGEST_LOG else LOG


def _dense(adata: "AnnData") -> np.ndarray:
    from scfviz.data import matrix as mx

    return mx.read_rows(adata.X, 0, adata.n_obs).toarray().astype(np.float32)


def _merge(values: np.ndarray, target: np.ndarray, known: np.ndarray, kind: str) -> tuple[np.ndarray, list[str]]:
    """Columns of the known genes in the model's order; rows of one gene add up, of logarithms the largest counts."""
    first = {gene: i for i, gene in reversed(list(enumerate(target))) if gene >= 0}
    merged = values[:, [first[gene] for gene in known]].copy()
    place, n_repeated = {gene: i for i, gene in enumerate(known)}, 0
    for i, gene in enumerate(target):
        if gene >= 0 and first[gene] != i:
            one = merged[:, place[gene]]
            merged[:, place[gene]] = one + values[:, i] if kind in (COUNTS, TPM) else np.maximum(one, values[:, i])
            n_repeated += 1
    what = "their sum" if kind in (COUNTS, TPM) else "the largest value"
    return merged, [f"{n_repeated:,} rows repeat a gene; {what} was taken."] if n_repeated else []


def _refuse(values: np.ndarray, kind: str, names: Sequence[str]) -> None:
    n_samples, n_genes = values.shape
    flat = np.flatnonzero(np.ptp(values, axis=1) <= 0)
    if len(flat):
        raise DatasetError(
            f"{len(flat):,} samples have the same value for all genes, the first is '{names[flat[0]]}'.",
            "Each sample needs expression.",
            "Remove them.",
        )
    if n_samples >= 5 and kind == CENTERED:
        mean, spread = values.mean(axis=0), values.std(axis=0)
        if np.median(np.abs(mean)) < 0.02 * max(float(np.median(spread)), 1e-9):
            raise DatasetError(
                "The values are centred gene by gene over the samples: the mean of most genes is zero.",
                "The order of genes within a sample is read, which centring has removed.",
                "Give counts, TPM, FPKM or their logarithms.",
            )
    share = float(np.median((values > 0).mean(axis=1)))
    if kind != CENTERED and n_genes >= _MANY_GENES and share < _SHARE_OF_CELLS:
        raise DatasetError(
            f"These look like single cells: half of them express {share:.0%} of {n_genes:,} genes or fewer.",
            "A bulk sample expresses more than half of them.",
            "Use the tab for cells, or add the counts of all cells of a sample up: the page has a field for that, "
            "the command --by.",
        )


def _twins(values: np.ndarray, names: Sequence[str]) -> list[str]:
    seen: dict[bytes, int] = {}
    twins = []
    for i, row in enumerate(values):
        twins += [(seen[key], i)] if (key := row.tobytes()) in seen else []
        seen.setdefault(key, i)
    if not twins:
        return []
    one, other = twins[0]
    many = "1 sample repeats" if len(twins) == 1 else f"{len(twins):,} samples repeat"
    return [f"{many} another one exactly, for example '{names[one]}' and '{names[other]}'."]


def _groups(obs: object) -> dict[str, np.ndarray]:
    found = {}
    for name in obs:
        column = obs[name]
        if 2 <= column.nunique() <= 50 and column.nunique() < len(column):
            found[str(name)] = column.astype(str).to_numpy()
    return found
