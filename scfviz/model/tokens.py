"""From counts to tokens: normalisation, depth tokens, and packed batches of expressed genes.

A batch is *packed*: the tokens of all its cells lie one behind the other, without padding. Each cell has its
expressed genes in ascending order, then T, then S. No token therefore depends on which cells share a batch.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix

from scfviz.data.normalise import log_normalise
from scfviz.errors import DatasetError, OptionError
from scfviz.model.config import ModelConfig

#: How the official program treats input that is not raw counts. Only for reproducing its numbers.
OFFICIAL_INPUTS = {
    "official log-normalised cells": "values as given; their sum, which is no read depth, stands for the total",
    "official bulk, normalised": "counts to the median total, then ln(1 + x); T = S = log10 of the logged values' sum",
    "official bulk, as given": "values as given; T = S = their plain sum, without a logarithm",
}


@dataclass(frozen=True)
class PreparedCells:
    """Cells as the model takes them.

    Attributes
    ----------
    values
        Sparse float32 of shape (B, n_genes), ln(1 + counts per 10,000).
    target_token, source_token
        float32 of shape (B,): log10 of the target and of the source depth in counts.
    """

    values: csr_matrix
    target_token: np.ndarray
    source_token: np.ndarray


@dataclass(frozen=True)
class TokenBatch:
    """A packed batch of N tokens from B cells.

    Attributes
    ----------
    values_N
        float32: normalised expression; the last two of each cell are T and S.
    ids_N
        int64: gene number in the model's order, or the identity of T or S.
    lengths
        Number of tokens of each cell, T and S included; sums to N.
    """

    values_N: torch.Tensor
    ids_N: torch.Tensor
    lengths: tuple[int, ...]

    def to(self, device: torch.device | str) -> "TokenBatch":
        """The same batch on another device."""
        return TokenBatch(
            self.values_N.to(device, non_blocking=True), self.ids_N.to(device, non_blocking=True), self.lengths
        )

    @property
    def ends(self) -> np.ndarray:
        """int64 of shape (B,): where each cell's tokens end."""
        return np.cumsum(np.asarray(self.lengths, dtype=np.int64))


def prepare_cells(
    counts: csr_matrix,
    *,
    target_depth: float | None = None,
    depth_fold: float | None = None,
    names: np.ndarray | None = None,
) -> PreparedCells:
    """Normalise raw counts and choose the depth tokens.

    Parameters
    ----------
    counts
        Sparse (B, n_genes) raw counts in the model's gene order.
    target_depth
        Target read depth, in counts per cell. `None` keeps the cell's own depth.
    depth_fold
        The same as a multiple of the cell's own depth; not together with `target_depth`.
    names
        (B,) names of the cells, for messages.

    Raises
    ------
    OptionError
        Both or impossible depths are given.
    DatasetError
        A cell has no counts: its depth has no logarithm. The message names the first such cell.

    Source: Hao et al. 2024, doi:10.1038/s41592-024-02305-7.
    """
    check_depth(target_depth, depth_fold)
    totals = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    refuse_empty_cells(totals, names)
    source = np.log10(totals)
    if target_depth is not None:
        target = np.full_like(source, np.log10(target_depth))
    else:
        target = source + np.log10(depth_fold or 1.0)
    return PreparedCells(log_normalise(counts, totals), target.astype(np.float32), source.astype(np.float32))


def refuse_empty_cells(totals: np.ndarray, names: np.ndarray | None = None) -> None:
    """Refuse cells whose depth has no logarithm.

    Parameters
    ----------
    totals
        (B,) counts per cell.
    names
        (B,) names of the cells, for the message.

    Raises
    ------
    DatasetError
        A cell has no counts. The message names the first such cell.
    """
    if not (totals > 0).all():
        first = int(np.argmin(totals > 0))
        name = str(names[first]) if names is not None else f"number {first + 1}"
        raise DatasetError(
            f"Cell {name} has no counts in the model's genes ({int((totals <= 0).sum()):,} such cells in all).",
            "Every cell needs at least one count: its read depth has no logarithm otherwise.",
            "Remove empty cells, for example with the filter 'at least 200 counts per cell' (--min-counts 200).",
        )


def check_depth(target_depth: float | None, depth_fold: float | None) -> None:
    """Refuse depths that mean nothing.

    Raises
    ------
    OptionError
        Both are given, or one is not a number above zero.
    """
    if target_depth is not None and depth_fold is not None:
        raise OptionError(
            "Both a target depth and a depth fold are given.", "Only one of them can hold.", "Leave one out."
        )
    for name, value in (("target depth", target_depth), ("depth fold", depth_fold)):
        if value is not None and not (np.isfinite(value) and value > 0):
            raise OptionError(
                f"The {name} is {value}.",
                "It must be a number above zero: counts per cell for a target depth, a multiple for a fold.",
                "For example a target depth of 10000, or a fold of 5.",
            )


def prepare_official_input(
    values: csr_matrix, kind: str, *, target_depth: float | None = None, totals: np.ndarray | None = None
) -> PreparedCells:
    """Treat input that is not raw counts exactly as the official program does.

    Only for reproducing its numbers: the totals it takes are no read depths (see `OFFICIAL_INPUTS`).

    Parameters
    ----------
    values
        Sparse (B, n_genes): log-normalised cells, bulk counts or bulk log expression, as `kind` says.
    kind
        A key of `OFFICIAL_INPUTS`.
    target_depth
        Counts; for cells only, since bulk samples take their source token as target.
    totals
        (B,) counts of each cell, where they are known; for cells only.

    Raises
    ------
    OptionError
        `kind` is unknown, or a target depth is given for bulk samples.
    """
    if kind not in OFFICIAL_INPUTS:
        raise OptionError(f"Unknown input kind '{kind}'.", f"One of: {', '.join(OFFICIAL_INPUTS)}.", "")
    if totals is not None and kind != "official log-normalised cells":
        raise OptionError("Totals are given for bulk samples.", "The official program has none for them.", "")
    values = values.astype(np.float64)
    if kind == "official bulk, normalised":
        of_sample = np.asarray(values.sum(axis=1)).ravel()
        per_entry = np.repeat(np.median(of_sample) / of_sample, np.diff(values.indptr))
        values = csr_matrix((np.log1p(values.data * per_entry), values.indices, values.indptr), shape=values.shape)
    sums = np.asarray(values.sum(axis=1)).ravel() if totals is None else totals
    source = sums if kind == "official bulk, as given" else np.log10(sums)
    target = source
    if target_depth is not None:
        check_depth(target_depth, None)
        if kind != "official log-normalised cells":
            raise OptionError(
                "A target depth is given for bulk samples.", "The official program has none for them.", "Leave it out."
            )
        target = np.full_like(source, np.log10(target_depth))
    return PreparedCells(values.astype(np.float32), target.astype(np.float32), source.astype(np.float32))


def tokenise(cells: PreparedCells, config: ModelConfig) -> TokenBatch:
    """Pack expressed genes and depth tokens of B cells, one cell behind the other.

    Parameters
    ----------
    cells
        Prepared cells with sorted column indices and without stored zeros.

    Returns
    -------
    TokenBatch
        On the CPU; `lengths` is the number of expressed genes plus two.
    """
    values = cells.values
    n_expressed = np.diff(values.indptr).astype(np.int64)
    lengths = n_expressed + 2
    ends = np.cumsum(lengths)
    values_N = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.float32)
    ids_N = np.empty(len(values_N), dtype=np.int64)
    is_gene = np.ones(len(values_N), dtype=bool)
    is_gene[ends - 1] = is_gene[ends - 2] = False
    values_N[is_gene], ids_N[is_gene] = values.data, values.indices
    values_N[ends - 2], ids_N[ends - 2] = cells.target_token, config.target_id
    values_N[ends - 1], ids_N[ends - 1] = cells.source_token, config.source_id
    return TokenBatch(torch.from_numpy(values_N), torch.from_numpy(ids_N), tuple(int(n) for n in lengths))
