"""Expression values in the model's gene order, taken as they are: bulk samples, and cells that are normalised already.

Raw counts of cells go through `scfviz.data.align`, which proves that they are counts. Here nothing is proven: what the
values are follows from their size, or is said by the caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from scfviz.data import matrix as mx
from scfviz.data.align import with_unique_names
from scfviz.data.genes import GeneReport, match_genes
from scfviz.errors import DatasetError, OptionError

if TYPE_CHECKING:
    from anndata import AnnData

KINDS = ("counts", "tpm", "log")
LARGEST_LOG = 50.0  # no logarithm of an expression value is as large, to whatever base


@dataclass(frozen=True)
class AlignedValues:
    """Values of samples or cells in the model's gene order.

    Attributes
    ----------
    matrix
        Sparse float64 (n_obs, n_genes), zero or more, in the file's unit.
    kind
        "counts": whole numbers. "tpm": other values that are no logarithms (TPM, FPKM, CPM). "log": logarithms.
    obs
        Table of the samples with unique names.
    gene_report
        How genes were found.
    totals
        float64 (n_obs,), counts of each cell where the file's last column holds them; else None.
    notes
        What should be known about the values.
    """

    matrix: sp.csr_matrix
    kind: str
    obs: pd.DataFrame
    gene_report: GeneReport
    totals: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    @property
    def n_obs(self) -> int:
        """Number of samples."""
        return self.matrix.shape[0]


def align_values(
    adata: "AnnData",
    genes: Sequence[str] | None = None,
    *,
    kind: str | None = None,
    column: str | None = None,
    last_is_total: bool = False,
) -> AlignedValues:
    """Bring `X` into the model's gene order without looking for counts in it.

    Parameters
    ----------
    adata
        Samples x genes, from `read_dataset`. It is not changed.
    kind
        What the values are, one of `KINDS`; None decides by their size: whole numbers are counts, values above 50 are
        no logarithms.
    column
        Column of `var` with the genes; None chooses by content.
    last_is_total
        The last column of `X` is no gene, but the total count of each cell.

    Raises
    ------
    DatasetError
        There is no `X`, or it holds negative or non-finite values, or a sample has nothing.
    GeneError
        Too few genes are known.
    OptionError
        The values cannot be of the kind that was said.
    """
    if adata.X is None:
        raise DatasetError("The file holds no matrix X.", "Values of samples are read from it.", "Put them there.")
    values = mx.read_rows(adata.X, 0, adata.n_obs).astype(np.float64)
    var, totals = adata.var, None
    if last_is_total:
        totals = np.asarray(values[:, -1].todense()).ravel()
        values, var = values[:, :-1], var.iloc[:-1]
        if (totals <= 0).any():
            raise DatasetError("The last column holds totals of zero or less.", "Each cell needs its count.", "Add it.")
    _refuse_impossible(values)
    found = kind_of(values)
    if kind == "log" and found != "log" or kind == "counts" and found != "counts":
        raise OptionError(
            f"The values were said to be {kind}, but the largest is {values.max():,.6g} and they look like {found}.",
            f"Counts are whole numbers; logarithms are below {LARGEST_LOG:g}.",
            f"Say what they are with --values {found}, or leave it out.",
        )
    match = match_genes(var, genes, column=column)
    aligned, notes = _reorder(values, match.target, len(match.genes), kind or found)
    empty = np.flatnonzero(np.asarray(aligned.sum(axis=1)).ravel() <= 0)
    obs = with_unique_names(adata.obs)
    if len(empty):
        raise DatasetError(
            f"{len(empty):,} samples have nothing in the model's genes, the first is '{obs.index[empty[0]]}'.",
            "Each sample needs expression.",
            "Remove them.",
        )
    return AlignedValues(aligned, kind or found, obs, match.report, totals, tuple(notes))


def kind_of(values: sp.csr_matrix) -> str:
    """What values look like: one of `KINDS`."""
    if (values.data == np.rint(values.data)).all():
        return "counts"
    return "tpm" if values.data.max() > LARGEST_LOG else "log"


def _refuse_impossible(values: sp.csr_matrix) -> None:
    if not np.isfinite(values.data).all() or (values.data < 0).any():
        raise DatasetError(
            "The matrix holds negative or missing values.",
            "Counts, TPM, or logarithms of 1 + a value are zero or more.",
            "Give values that are not scaled or centred; logarithms without a pseudo-count of 1 cannot be used.",
        )


def _reorder(values: sp.csr_matrix, target: np.ndarray, n_genes: int, kind: str) -> tuple[sp.csr_matrix, list[str]]:
    """Columns in the model's order. Rows of one gene add up; of logarithms, which cannot, the largest counts."""
    columns, notes = sp.csc_matrix(values), []
    genes, n_rows = np.unique(target[target >= 0], return_counts=True)
    repeated = genes[n_rows > 1]
    if len(repeated):
        what = "the largest value" if kind == "log" else "their sum"
        notes.append(f"{len(repeated):,} genes have several rows; {what} was taken.")
    if len(repeated) and kind == "log":
        largest = [columns[:, np.flatnonzero(target == gene)].max(axis=1) for gene in repeated]
        target = np.concatenate([np.where(np.isin(target, repeated), -1, target), repeated])
        columns = sp.hstack([columns, *largest], format="csc")
    rows = np.flatnonzero(target >= 0)
    spread = sp.csr_matrix((np.ones(len(rows)), (rows, target[rows])), shape=(columns.shape[1], n_genes))
    aligned = sp.csr_matrix(columns @ spread)
    aligned.eliminate_zeros()
    aligned.sort_indices()
    return aligned, notes
