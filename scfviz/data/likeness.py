"""Whole numbers are not yet counts: bins, ranks and rounded normalised values are whole, too. Judged cell by cell.

In a cell of counts ones and twos are the commonest values and a few genes reach far above them. What was measured on 69
files (UMI, full-length reads, panels, bulk) stands in the tests: not one cell with all its genes fails.
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
MAX_FAILING_CELLS = 0.05
# Where fewer cells than this have enough values, those that have are no typical ones, and count as this many.
MIN_JUDGED_CELLS = 0.05
# A smallest value from here on is no accident of a cell without ones: already a few such cells are too many.
MIN_FAR = 5
MAX_FAR_CELLS = 0.01
FINE, NO_ONES, FLAT, JUMP, LEVELS, FIXED_TOTAL, FAR = range(7)
WHY = {
    NO_ONES: "the smallest value of a cell is above 1, and the others are no multiples of it (bins, or rounded values)",
    FAR: f"the smallest value of a cell is {MIN_FAR} or more, and the others are no multiples of it (rounded)",
    FLAT: "large values are as common as small ones within a cell: bins or ranks",
    JUMP: "after 1 nothing comes for a long way: ranks with ties",
    LEVELS: "every value from 1 to the largest occurs in a cell, without a gap: ranks or levels",
    FIXED_TOTAL: "the totals of cells lie close around one number without being equal (CPM, TPM or the like, rounded)",
}
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
    """

    why: np.ndarray
    is_judged: np.ndarray
    unit: np.ndarray


def judge_cells(block: sp.csr_matrix, *, is_whole: bool = True) -> Judgement:
    """Judge every cell of a block by its non-zero values. Without `is_whole`, values may have fractions."""
    values, per_cell, indptr = nonzero(block)
    why = np.zeros(len(per_cell), dtype=np.int8)
    is_judged, unit = per_cell >= MIN_VALUES, np.ones(len(per_cell))
    if not is_judged.any():
        return Judgement(why, is_judged, unit)
    filled = per_cell > 0

    def per(function: np.ufunc, entries: np.ndarray) -> np.ndarray:
        found = np.zeros(len(per_cell))
        found[filled] = function.reduceat(entries, indptr[:-1][filled])
        return found

    lowest, highest = per(np.minimum, values), per(np.maximum, values)
    above_one = per(np.add, (values > 1).astype(np.int32))
    n_high = per(np.add, (values * 2 > np.repeat(highest, per_cell)).astype(np.int32))
    why[(2 * above_one > per_cell) & (n_high > MAX_HIGH * per_cell)] = FLAT
    above = is_judged & (lowest > 1)
    if above.any():
        remainder = np.remainder(values, np.repeat(np.where(above, lowest, 1), per_cell))
        is_multiple = above & (per(np.maximum, remainder) == 0)
        unit[is_multiple] = lowest[is_multiple]
        above &= ~is_multiple
    if is_whole:
        few = per(np.add, ((values == 2) | (values == 3)).astype(np.int32))
        why[(lowest == 1) & (above_one >= MIN_ABOVE_ONE) & (few == 0)] = JUMP
        why[above] = np.where(lowest[above] >= MIN_FAR, FAR, NO_ONES)
    else:
        # Estimates may all be above 1 where only the commonest genes were kept; ranks with ties stay close together.
        why[above & (highest < MIN_RANGE * lowest)] = FLAT
    why[~is_judged] = FINE
    return Judgement(why, is_judged, unit)


def nonzero(block: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(values, number per cell, row pointer) of the entries that are not 0."""
    if block.nnz and not block.data.all():
        keep = block.data != 0
        indptr = np.concatenate([[0], np.cumsum(keep)])[block.indptr]
        return block.data[keep], np.diff(indptr), indptr
    return block.data, np.diff(block.indptr), block.indptr


def unlike_counts(sample: sp.csr_matrix, *, is_whole: bool = True) -> int:
    """The key of `WHY` that speaks against some cells of a matrix being counts; 0 where nothing does."""
    judged = judge_cells(sample, is_whole=is_whole)
    if why := too_many(judged.why, int(judged.is_judged.sum())):
        return why
    if is_whole and has_levels(sample):
        return LEVELS
    return FIXED_TOTAL if at_fixed_total(np.asarray(sample.sum(axis=1, dtype=np.float64)).ravel()).any() else FINE


def too_many(why: np.ndarray, n_judged: int) -> int:
    """The commonest reason when too many of the judged cells are unlike counts, else 0."""
    n_judged = max(n_judged, MIN_JUDGED_CELLS * len(why))
    if (why > 0).sum() > MAX_FAILING_CELLS * n_judged:
        return int(np.bincount(why[why > 0]).argmax())
    return FAR if (why == FAR).sum() > MAX_FAR_CELLS * n_judged else FINE


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
