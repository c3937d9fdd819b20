"""Whole numbers are not yet counts: bins, ranks and rounded normalised values are whole, too. Judged cell by cell.

In a cell of counts ones and twos are the commonest values and a few genes reach far above them. What was measured on 69
files (UMI, full-length reads, panels, bulk) stands in the tests: not one cell with all its genes fails.

Counts are drawn at random from what a cell holds, so the number of genes with k counts runs smoothly through k: the
numbers k! times "how many genes have k counts" are moments, and moments are log-convex. Scaling and rounding leave
holes and bumps that no drawing does.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

# Cells with fewer values than this say nothing about the kind of their values.
MIN_VALUES = 20
# In a cell of counts few values are more than half of the largest; among bins and ranks about half are.
MAX_HIGH = 0.4
# From the smallest to the largest estimate of a cell.
MIN_RANGE = 10
# Among this many values above 1 there is a 2 or a 3; ranks jump from 1 to the number of ties.
MIN_ABOVE_ONE = 30
# Where the largest value is at least this, counts leave gaps below it; numbered levels leave none.
MIN_LEVELS = 20
# A small panel whose genes are expressed in nearly every cell has neither ones nor a few genes far above the others.
MAX_PANEL, MIN_FULL = 500, 0.8
MIN_SAME_TOP = 0.5
# Numbers of genes with 1, 2, ... up to so many counts are compared with their neighbours.
MAX_COMPARED = 24
# A number that no gene has although so many genes have the one below and the one above: after scaling and rounding.
MIN_BESIDE_HOLE = 10
# Standard errors above what drawing allows. Two of 69 real files pass it in more than one cell of twenty: both hold
# estimates or scaled values that were rounded.
MIN_BUMP = 4.0
MAX_FAILING_CELLS = 0.05
# Where fewer cells than this have enough values, those that have are no typical ones, and count as this many.
MIN_JUDGED_CELLS = 0.05
# A smallest value from here on is no accident of a cell without ones: already a few such cells are too many.
MIN_FAR = 5
MAX_FAR_CELLS = 0.01
# More genes with 2 counts than with 1, by so many standard errors, in so many cells: at most 0.024 in 69 real files. In
# units of FPKM half of the genes are far above; counts that somebody invented for a test (Poisson and 1) are not.
MIN_HUMP, MAX_HUMPED_CELLS, MIN_MEDIAN = 3.0, 0.1, 8
# From this share of ones on in the median cell, values are molecules whatever a name says; full-length reads have 0.22.
MIN_ONES_OF_MOLECULES = 0.3
# Where so many genes of a cell have the smallest value, some have none at all: drawing leaves zeros below ones.
MIN_GENES_FILLED, MIN_FILLED, MIN_AT_SMALLEST = 50, 0.99, 0.2
FINE, NO_ONES, FLAT, JUMP, LEVELS, FIXED_TOTAL, FAR, HOLES, HUMP, SIMILAR, ADDED = range(11)
WHY = {
    NO_ONES: "the smallest value of a cell is above 1, and the others are no multiples of it (bins, or rounded values)",
    FAR: f"the smallest value of a cell is {MIN_FAR} or more, and the others are no multiples of it (rounded)",
    FLAT: "large values are as common as small ones within a cell: bins or ranks",
    JUMP: "after 1 nothing comes for a long way: ranks with ties",
    LEVELS: "every value from 1 to the largest occurs in a cell, without a gap: ranks or levels",
    HOLES: "some number is missing in a cell although its neighbours are common (values scaled and rounded or cut off)",
    HUMP: "more genes have 2 counts than 1, and many have 3 (values scaled by gene or cell and rounded: FPKM, TPM)",
    ADDED: "no gene of a cell is zero, and the smallest value is common: a constant was added to every count",
    SIMILAR: (
        "the totals of the cells are strangely close without being equal (values normalised to a total and rounded; or "
        "counts thinned to one depth, of which genes were left out)"
    ),
    FIXED_TOTAL: "the totals of cells lie close around one number without being equal (CPM, TPM or the like, rounded)",
}
# Half of the cells of a file lie within so small a part of the median only after normalisation, or after thinning.
# Cells are normalised to 10,000 and more; this is what a selection of genes keeps of it.
MAX_SIMILAR, MIN_CELLS_SIMILAR, MIN_TOTAL_SIMILAR = 0.10, 20, 3000
# Between the quartiles of a normal distribution, in standard deviations; the part of the variances of all genes that
# the variance of the totals stays below when cells were normalised (it is all of them when genes are independent).
QUARTILES_APART, MAX_OF_GENES = 1.349, 0.4
# Totals that cells are normalised to; a cell thinned to one of them has exactly it, or less after genes were left out.
TARGETS = (1e3, 1e4, 1e5, 1e6)
# From here on nobody thins cells; so totals just below are a sign of rounding, too.
NEVER_THINNED = 1e5
NEAR, WIDE, CLOSE = 0.01, 0.10, 1e-3
MIN_PEAK = 0.6
MIN_CELLS_AT_TARGET = 5


@dataclass(frozen=True)
class Judgement:
    """Which cells of a block are unlike counts.

    `why` int8 (n_rows,): a key of `WHY`, 0 where nothing speaks against the cell. `is_judged` bool (n_rows,): cells
    with enough values. `unit` float64 (n_rows,): the number that all values of a judged cell are multiples of, else 1.
    `is_bumpy` bool (n_rows,): some number is commoner than its neighbours allow, as estimates are, too. `is_humped`
    bool (n_rows,): twos are commoner than ones, and most values large.
    """

    why: np.ndarray
    is_judged: np.ndarray
    unit: np.ndarray
    is_bumpy: np.ndarray
    is_humped: np.ndarray


def judge_cells(block: sp.csr_matrix, *, is_whole: bool = True, n_genes: int | None = None) -> Judgement:
    """Judge every cell of a block by its non-zero values.

    Parameters
    ----------
    is_whole
        Without it, values may have fractions.
    n_genes
        Columns that are genes; None takes all.
    """
    values, per_cell, indptr = nonzero(block)
    n_genes = block.shape[1] if n_genes is None else n_genes
    why = np.zeros(len(per_cell), dtype=np.int8)
    is_judged, unit = per_cell >= MIN_VALUES, np.ones(len(per_cell))
    if not is_judged.any():
        none = np.zeros(len(per_cell), dtype=bool)
        return Judgement(why, is_judged, unit, none, none)
    filled = per_cell > 0

    def per(function: np.ufunc, entries: np.ndarray) -> np.ndarray:
        found = np.zeros(len(per_cell))
        found[filled] = function.reduceat(entries, indptr[:-1][filled])
        return found

    def count(flags: np.ndarray) -> np.ndarray:
        return per(np.add, flags.astype(np.int32))

    lowest, highest = per(np.minimum, values), per(np.maximum, values)
    above_one = count(values > 1)
    n_high = count(values * 2 > np.repeat(highest, per_cell))
    is_full = (per_cell >= MIN_FULL * n_genes) & (n_genes <= MAX_PANEL)
    why[is_raised(block, n_genes)] = ADDED
    if n_genes > MAX_PANEL:
        why[(2 * above_one > per_cell) & (n_high > MAX_HIGH * per_cell)] = FLAT
    above = is_judged & (lowest > 1)
    if above.any():
        remainder = np.remainder(values, np.repeat(np.where(above, lowest, 1), per_cell))
        is_multiple = above & (per(np.maximum, remainder) == 0)
        unit[is_multiple] = lowest[is_multiple]
        above &= ~is_multiple & ~is_full
    is_bumpy = is_humped = np.zeros(len(per_cell), dtype=bool)
    if is_whole:
        small = count_small(values, per_cell)
        has_hole, is_bumpy = compare_neighbours(small)
        is_bumpy &= is_judged & (unit == 1)
        why[has_hole & (unit == 1)] = HOLES
        ones, twos, threes = small.T[1:4]
        few = twos + threes
        if n_genes > MAX_PANEL:  # reads counted in pairs have twos, but no threes
            is_above = (twos - ones > MIN_HUMP * np.sqrt(ones + twos)) & (2 * threes > twos)
            is_large = 2 * count(values >= MIN_MEDIAN) >= per_cell
            is_humped = is_above & is_large & is_judged & (unit == 1)
        why[(lowest == 1) & (above_one >= MIN_ABOVE_ONE) & (few == 0) & ~is_full] = JUMP
        why[above] = np.where(lowest[above] >= MIN_FAR, FAR, NO_ONES)
    else:
        # Estimates may all be above 1 where only the commonest genes were kept; ranks with ties stay close together.
        why[above & (highest < MIN_RANGE * lowest)] = FLAT
    why[~is_judged] = FINE
    return Judgement(why, is_judged, unit, is_bumpy, is_humped)


def is_raised(block: sp.csr_matrix, n_genes: int) -> np.ndarray:
    """Which cells have no zero and their smallest value often, as after adding a constant; bool (n_rows,)."""
    values, per_cell, indptr = nonzero(block)
    filled = (per_cell >= MIN_FILLED * n_genes) & (per_cell > 0) & (n_genes >= MIN_GENES_FILLED)
    for i in np.flatnonzero(filled):
        cell = values[indptr[i] : indptr[i + 1]]
        filled[i] = (cell == cell.min()).sum() >= MIN_AT_SMALLEST * len(cell)
    return filled


def count_small(values: np.ndarray, per_cell: np.ndarray) -> np.ndarray:
    """Genes with 0, 1, 2, ... counts in each cell, int64 (n_cells, MAX_COMPARED + 1).

    Parameters
    ----------
    values
        The values of all cells that are not 0, whole, cell after cell.
    per_cell
        int (n_cells,), how many belong to each cell.
    """
    # Larger values meet in one more column; a smaller type than int64 would be cast on the way.
    keys = np.minimum(values, MAX_COMPARED + 1).astype(np.int64)
    keys += np.repeat(np.arange(len(per_cell)) * (MAX_COMPARED + 2), per_cell)
    return np.bincount(keys, minlength=len(per_cell) * (MAX_COMPARED + 2)).reshape(len(per_cell), -1)[:, :-1]


def compare_neighbours(n_genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether the numbers of genes with 2, 3, ... counts have a hole or a bump, that no drawing of molecules leaves.

    Parameters
    ----------
    n_genes
        From `count_small`.

    Returns
    -------
    Two arrays, bool (n_cells,): `p(k)^2 k > p(k - 1) p(k + 1) (k + 1)` is a bump, where chance does not explain it.
    """
    below, here, above = n_genes[:, 1:-2], n_genes[:, 2:-1], n_genes[:, 3:]
    has_hole = ((here == 0) & (np.minimum(below, above) >= MIN_BESIDE_HOLE)).any(axis=1)
    below, here, above = (part + 0.5 for part in (below, here, above))
    k = np.arange(2, MAX_COMPARED)
    excess = np.log(here) - 0.5 * (np.log(below) + np.log(above) + np.log((k + 1) / k))
    error = np.sqrt(1 / here + 0.25 / below + 0.25 / above)
    return has_hole, ((excess > MIN_BUMP * error) & (here > MIN_BESIDE_HOLE)).any(axis=1)


def nonzero(block: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(values, number per cell, row pointer) of the entries that are not 0."""
    if block.nnz and not block.data.all():
        keep = block.data != 0
        indptr = np.concatenate([[0], np.cumsum(keep)])[block.indptr]
        return block.data[keep], np.diff(indptr), indptr
    return block.data, np.diff(block.indptr), block.indptr


def unlike_counts(
    sample: sp.csr_matrix, *, is_whole: bool = True, n_genes: int | None = None, by_totals: bool = True
) -> int:
    """The key of `WHY` that speaks against some cells of a matrix being counts; 0 where nothing does.

    Without `by_totals`, totals may be close: the cells were selected by them.
    """
    judged = judge_cells(sample, is_whole=is_whole, n_genes=n_genes)
    if why := too_many(judged.why, int(judged.is_judged.sum())):
        return why
    if is_limited(sample):  # what a small panel is forgiven, bins and ranks are not
        strict = judge_cells(sample, is_whole=is_whole, n_genes=MAX_PANEL + 1)
        if (strict.why == FLAT).sum() > MAX_FAILING_CELLS * strict.is_judged.sum():
            return FLAT
    if is_whole and has_levels(sample):
        return LEVELS
    if is_humped(int(judged.is_humped.sum()), int(judged.is_judged.sum())):
        return HUMP
    if not by_totals:
        return FINE
    totals = np.asarray(sample.sum(axis=1, dtype=np.float64)).ravel()
    is_plain = is_whole and 2 * (judged.unit > 1).sum() <= judged.is_judged.sum()
    return unlike_totals(totals, sample, is_plain=is_plain)


def is_humped(n_humped: int, n_judged: int) -> bool:
    """Whether twos are commoner than ones in too many of the judged cells."""
    return n_humped > MAX_HUMPED_CELLS * n_judged


def unlike_totals(totals: np.ndarray, sample: sp.csr_matrix, *, is_plain: bool) -> int:
    """The key of `WHY` that speaks against totals of cells being those of counts; 0 where nothing does.

    Close totals are no sign where values are estimates or multiples (not `is_plain`), or where they vary as much as
    genes that know nothing of each other let them: simulated cells. Normalised ones vary less, since a gene's gain is
    the loss of others.
    """
    if at_fixed_total(totals).any():
        return FIXED_TOTAL
    if not is_plain or (between := similar_totals(totals)) is None:
        return FINE
    values = sample.astype(np.float64)
    n_cells = max(sample.shape[0], 1)
    means = np.asarray(values.sum(axis=0)).ravel() / n_cells
    of_genes = float((values.data**2).sum() / n_cells - (means**2).sum())
    spread = (between[1] - between[0]) / QUARTILES_APART
    return SIMILAR if spread**2 < MAX_OF_GENES * of_genes else FINE


def has_molecules(sample: sp.csr_matrix) -> bool:
    """Whether ones dominate in the median cell, as they do among molecules: no scaled value is so."""
    values, per_cell, indptr = nonzero(sample)
    ones = np.diff(np.concatenate([[0], np.cumsum(values == 1)])[indptr])
    filled = per_cell > 0
    return bool(filled.any()) and float(np.median(ones[filled] / per_cell[filled])) >= MIN_ONES_OF_MOLECULES


def too_many(why: np.ndarray, n_judged: int) -> int:
    """The commonest reason when too many of the judged cells are unlike counts, else 0."""
    n_judged = max(n_judged, MIN_JUDGED_CELLS * len(why))
    if (why > 0).sum() > MAX_FAILING_CELLS * n_judged:
        return int(np.bincount(why[why > 0]).argmax())
    return FAR if (why == FAR).sum() > MAX_FAR_CELLS * n_judged else FINE


def is_limited(sample: sp.csr_matrix) -> bool:
    """Whether most cells have one and the same largest value, the highest bin, or their number of values: ranks."""
    per_cell = np.diff(sample.indptr)
    if len(per_cell) < MIN_CELLS_SIMILAR or not sample.nnz:
        return False
    largest = sample.max(axis=1).toarray().ravel()
    _, n_cells = np.unique(largest, return_counts=True)
    is_rank = (largest <= per_cell) & (largest >= MIN_FULL * per_cell)
    return largest.max() > 1 and (n_cells.max() > MIN_SAME_TOP * len(per_cell) or is_rank.mean() > MIN_SAME_TOP)


def has_levels(sample: sp.csr_matrix) -> bool:
    """Whether most cells with large values have every whole number up to their largest."""
    values, per_cell, indptr = nonzero(sample)
    n_tested = n_dense = 0
    for i in np.flatnonzero(per_cell >= MIN_VALUES):
        cell = values[indptr[i] : indptr[i + 1]]
        if (largest := cell.max()) >= MIN_LEVELS:
            n_tested += 1
            n_dense += len(np.unique(cell)) >= largest
    return n_tested > 0 and n_dense > n_tested / 2


def similar_totals(totals: np.ndarray) -> tuple[float, float] | None:
    """Between which totals half of the cells lie, where that is strangely close; None also for equal ones (thinned).

    Real files have 15 % of the median and more between the quartiles. Nothing else tells reads that were scaled down
    and rounded from counts.
    """
    totals = totals[totals > 0]
    if len(totals) < MIN_CELLS_SIMILAR:
        return None
    low, median, high = np.quantile(totals, [0.25, 0.5, 0.75])
    is_equal = (totals == median).mean() > 0.5
    is_close = high - low <= MAX_SIMILAR * median and median >= MIN_TOTAL_SIMILAR
    return (float(low), float(high)) if is_close and not is_equal else None


def at_fixed_total(totals: np.ndarray) -> np.ndarray:
    """Which cells were normalised to a total and rounded: many lie close around 10,000 or a million, few exactly on it.

    Parameters
    ----------
    totals
        float64 (n_obs,), counts per cell.

    Returns
    -------
    bool (n_obs,). Cells that were thinned to a total are none of them: they have it exactly, or less.
    """
    n_obs = len(totals)
    for target in TARGETS:
        away = np.abs(totals - target)
        near, exact = away <= (NEAR if n_obs >= MIN_CELLS_AT_TARGET else CLOSE) * target, away < 0.5
        off = near & ~exact
        n_near, n_off = int(near.sum()), int(off.sum())
        if n_near < min(MIN_CELLS_AT_TARGET, n_obs) or n_near < MAX_FAILING_CELLS * n_obs or 2 * n_off < n_near:
            continue
        if n_near < MIN_PEAK * (away <= WIDE * target).sum():
            continue
        if target >= NEVER_THINNED or (off & (totals > target)).sum() > 0.1 * n_off:
            return near
    return np.zeros(n_obs, dtype=bool)
