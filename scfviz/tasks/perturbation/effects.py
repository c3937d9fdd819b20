"""What each perturbation changed, measured: population means of ln(1 + counts per 10,000) against the control's."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scfviz.errors import DatasetError, OptionError, Stopped

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts
    from scfviz.data.perturbations import PerturbationDesign

MOST_GENES, MOST_PROFILES = 5_000, 2_000


@dataclass(frozen=True)
class ScreenEffects:
    """Measured changes of a screen; no cells.

    Attributes
    ----------
    genes
        Symbols of the genes read out.
    conditions, targets
        Names without the control, and the genes of each.
    n_cells
        int64 (n_conditions,).
    n_controls
        Cells of the control group.
    control
        float64 (n_genes,): mean of the control.
    change, variance
        float64 (n_conditions, n_genes): mean less the control's, and its sampling variance.
    halves
        float64 (2, n_conditions, n_genes): the change in each half of the cells, controls halved too; empty in a
        predictor that was stored.
    """

    genes: tuple[str, ...]
    conditions: tuple[str, ...]
    targets: tuple[tuple[str, ...], ...]
    n_cells: np.ndarray
    n_controls: int
    control: np.ndarray
    change: np.ndarray
    variance: np.ndarray
    halves: np.ndarray = field(default_factory=lambda: np.empty((2, 0, 0)))

    def take(self, rows: np.ndarray) -> "ScreenEffects":
        """Only some conditions."""
        return ScreenEffects(
            self.genes,
            tuple(self.conditions[i] for i in rows),
            tuple(self.targets[i] for i in rows),
            self.n_cells[rows],
            self.n_controls,
            self.control,
            self.change[rows],
            self.variance[rows],
            self.halves[:, rows] if self.halves.size else self.halves,
        )

    def own_gene(self) -> np.ndarray:
        """bool (n_conditions, n_genes): where the gene read out is the one that was perturbed."""
        place = {gene: i for i, gene in enumerate(self.genes)}
        mask = np.zeros(self.change.shape, dtype=bool)
        for row, targets in enumerate(self.targets):
            mask[row, [place[one] for one in targets if one in place]] = True
        return mask

    def strength(self) -> np.ndarray:
        """float64 (n_conditions,): squared change over sampling variance, sums over all but the own gene; 1 is none."""
        others = ~self.own_gene()
        noise = (self.variance * others).sum(axis=1)
        return (self.change**2 * others).sum(axis=1) / np.maximum(noise, 1e-12)


def library_sizes(counts: "AlignedCounts", column: str | None) -> np.ndarray:
    """Counts of each cell to normalise by, float64 (n_obs,): those of the file, or of a column that holds them.

    Raises
    ------
    OptionError
        The column is not there or holds no numbers above zero.
    """
    if column is None:
        return counts.total_counts
    if column not in counts.obs.columns:
        raise OptionError(
            f"The dataset has no column '{column}'.",
            "The counts of each cell over all genes are needed.",
            "Leave it out.",
        )
    values = counts.obs[column]
    sizes = values.to_numpy(dtype=np.float64) if values.dtype.kind in "fiu" else np.zeros(0)
    if len(sizes) != counts.n_obs or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise OptionError(
            f"The column '{column}' does not hold a number above zero for every cell.",
            "The counts of each cell over all genes are needed.",
            "Choose another column, or leave it out.",
        )
    return sizes


def normalised_blocks(counts: "AlignedCounts", sizes: np.ndarray) -> Iterator[tuple[int, sp.csr_matrix]]:
    """(first cell, ln(1 + counts per 10,000)) over all cells in order."""
    from scfviz.data.normalise import log_normalise

    for start, block in counts.blocks():
        yield start, log_normalise(block, sizes[start : start + block.shape[0]])


def sum_conditions(
    counts: "AlignedCounts",
    codes: np.ndarray,
    n_conditions: int,
    sizes: np.ndarray,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> np.ndarray:
    """Sums and sums of squares over the cells of each condition and half, in one pass.

    Returns
    -------
    np.ndarray
        float64 (2, 2, n_conditions, n_genes): sums and squares; halves of the cells, taken in turn.
    """
    half = np.zeros(len(codes), dtype=np.int64)
    for code in range(n_conditions):
        rows = np.flatnonzero(codes == code)
        half[rows] = np.arange(len(rows)) % 2
    group = np.where(codes >= 0, codes + half * n_conditions, -1)
    found = np.zeros((2, 2 * n_conditions, counts.n_genes))
    for start, block in normalised_blocks(counts, sizes):
        if should_stop():
            raise Stopped
        here = group[start : start + block.shape[0]]
        rows = np.flatnonzero(here >= 0)
        ones = np.ones(len(rows))  # sums in double precision
        members = sp.csr_matrix((ones, (here[rows], rows)), shape=(2 * n_conditions, block.shape[0]))
        found[0] += members @ block
        found[1] += members @ block.multiply(block)
        progress(start + block.shape[0], counts.n_obs)
    return found.reshape(2, 2, n_conditions, counts.n_genes)


def control_profiles(
    counts: "AlignedCounts", design: "PerturbationDesign", genes: Sequence[str], sizes: np.ndarray
) -> np.ndarray:
    """ln(1 + counts per 10,000) of genes in control cells, of many cells a sample: float32 (n_genes, n_cells)."""
    rows = np.flatnonzero(design.codes == 0)
    rows = rows[np.argsort(counts.obs.index[rows].to_numpy().astype(str), kind="stable")]  # whatever their order
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_PROFILES)).astype(np.int64)]
    symbols, first = np.unique(symbols_of(counts.genes), return_index=True)
    columns = first[np.searchsorted(symbols, genes)]
    found = np.empty((len(genes), len(rows)), dtype=np.float32)
    for start, block in normalised_blocks(counts.subset(rows), sizes[rows]):
        found[:, start : start + block.shape[0]] = block[:, columns].toarray().T
    return found


def measure_effects(
    counts: "AlignedCounts",
    design: "PerturbationDesign",
    *,
    sums: np.ndarray | None = None,
    sizes: np.ndarray | None = None,
    most_genes: int = MOST_GENES,
) -> ScreenEffects:
    """Changes of all conditions against the control.

    Parameters
    ----------
    counts
        Over all genes of the file.
    design
        Conditions of the same cells.
    sums
        Of `sum_conditions`; computed when left out.
    sizes
        See `library_sizes`.
    most_genes
        So many genes of the highest mean are read out, and the perturbed ones.

    Raises
    ------
    DatasetError
        No gene was measured in the cells.
    """
    n, n_genes = len(design.conditions), counts.n_genes
    if sums is None:
        sums = sum_conditions(counts, design.codes, n, counts.total_counts if sizes is None else sizes)
    columns, names = _choose_genes(counts, design, sums[0].sum(axis=(0, 1)), most_genes)
    halves = np.array([_half_sizes(design.codes, n, half) for half in (0, 1)])
    sizes_of = halves.sum(axis=0)
    means = sums[0, :, :, columns].transpose(1, 2, 0) / np.maximum(halves, 1)[:, :, None]
    mean = sums[0].sum(axis=0)[:, columns] / np.maximum(sizes_of, 1)[:, None]
    square = sums[1].sum(axis=0)[:, columns] / np.maximum(sizes_of, 1)[:, None]
    of_cells = np.maximum(square - mean**2, 0) * (sizes_of / np.maximum(sizes_of - 1, 1))[:, None]
    of_mean = of_cells / np.maximum(sizes_of, 1)[:, None]
    if n_genes and not len(columns):
        raise DatasetError("No gene has counts in these cells.", "Counts are needed.", "Choose where the counts are.")
    return ScreenEffects(
        names,
        design.conditions[1:],
        design.targets[1:],
        sizes_of[1:],
        int(sizes_of[0]),
        mean[0],
        mean[1:] - mean[0],
        of_mean[1:] + of_mean[0],
        means[:, 1:] - means[:, :1],
    )


def _half_sizes(codes: np.ndarray, n_conditions: int, half: int) -> np.ndarray:
    sizes = np.bincount(codes[codes >= 0], minlength=n_conditions)
    return (sizes + 1 - half) // 2


def _choose_genes(
    counts: "AlignedCounts", design: "PerturbationDesign", totals: np.ndarray, most_genes: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Columns that are read out, and their symbols: the model's where it has them."""
    symbols = symbols_of(counts.genes)
    _, first = np.unique(symbols, return_index=True)
    is_first = np.isin(np.arange(len(symbols)), first) & counts.is_measured & (totals > 0)
    order = np.argsort(-np.where(is_first, totals, -1), kind="stable")[:most_genes]
    wanted = {target for one in design.targets for target in one}
    is_target = np.isin(symbols, sorted(wanted)) & is_first
    chosen = np.union1d(order[is_first[order]], np.flatnonzero(is_target))
    return chosen, tuple(symbols[chosen].tolist())


def symbols_of(genes: Sequence[str]) -> np.ndarray:
    """The model's symbol of each gene, or the name that it has, as text (n_genes,)."""
    from scfviz.data.vocabulary import load_vocabulary

    vocabulary = load_vocabulary()
    return np.array([vocabulary.lookup(str(gene)) or str(gene) for gene in genes]).astype(str)
