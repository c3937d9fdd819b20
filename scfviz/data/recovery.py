"""Get counts back from normalised values.

When a cell is divided by its total (and perhaps logged), all its counts shrink by one factor. In almost every cell the
smallest non-zero value was a single count, so dividing by it gives the counts back, and whole numbers prove it. The
published corpus was treated the same way.

Source: Hao et al. 2024, doi:10.1038/s41592-024-02305-7, Methods.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

# Rounded or single-precision values do not divide to exact whole numbers.
TOLERANCE, RELATIVE_TOLERANCE = 0.04, 0.003
# Above this the tolerance would cover half of all real numbers, and passing would prove nothing.
MAX_TESTED = 40
# Logged values stay small: ln(1e6) is below 14, log2(1e6) below 20.
MAX_LOGGED = 25
MIN_WHOLE = 0.95
# Share of the values above the smallest that must be testable; real full-length data have 0.18 and more.
MIN_TESTED = 0.05
# Whole numbers that one count must be at least, for its multiples to prove anything.
MIN_UNIT = 12
# No gene has so many counts in a cell.
MAX_COUNT = 1e7
# Multiples up to here tell what one count is worth in a cell of rounded values.
MAX_FITTED = 8
# Smallest counts of a cell that are tried when one does not fit.
OTHER_SMALLEST = (2, 3)
SCALES = {
    "natural logarithm": np.expm1,
    "base-2 logarithm": lambda v: np.exp2(v) - 1,
    "base-10 logarithm": lambda v: np.power(10.0, v) - 1,
    "no logarithm": lambda v: v,
}


@dataclass(frozen=True)
class Recovery:
    """How counts come back: undo the scale, divide each cell by its smallest non-zero value, round.

    `scale` is a key of `SCALES`; `whole_share` the share of tested values that came out whole (0 to 1).
    """

    scale: str
    whole_share: float

    def apply(self, block: sp.csr_matrix) -> sp.csr_matrix:
        """Counts of a block of cells, float32, from normalised values of the same cells (all genes of the file)."""
        values = SCALES[self.scale](block.data.astype(np.float64))
        ratios = values / unit_of_entries(values, block.indptr)
        return sp.csr_matrix((np.rint(ratios).astype(np.float32), block.indices, block.indptr), shape=block.shape)


def unit_of_entries(values: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """For every entry, the value of one count in its cell.

    That is the smallest non-zero value; in a cell where the others are no multiples of it but of a half or a third
    (every expressed gene was counted at least twice), it is that fraction.
    """
    per_cell = np.diff(indptr)
    smallest = cell_minimum(values, indptr)
    unit = np.repeat(np.where(smallest > 0, smallest, 1), per_cell)
    fits = share_whole(values / unit, indptr) >= MIN_WHOLE
    if not fits.all():
        # Where values were rounded, several small ones together tell the unit better than the smallest alone.
        refined = refine(values, unit, indptr)
        better = ~fits & (share_whole(values / refined, indptr) >= MIN_WHOLE)
        unit = np.where(np.repeat(better, per_cell), refined, unit)
        fits |= better
    for parts in OTHER_SMALLEST:
        if fits.all():
            break
        better = ~fits & (share_whole(values * parts / unit, indptr) >= MIN_WHOLE)
        unit[np.repeat(better, per_cell)] /= parts
        fits |= better
    return unit


def refine(values: np.ndarray, unit: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """The unit that fits the small multiples of each cell best, by least squares; one value for every entry."""
    times = np.rint(values / unit)
    times[(times < 1) | (times > MAX_FITTED)] = 0
    products, squares = (
        np.diff(np.concatenate([[0.0], np.cumsum(terms)])[indptr]) for terms in (values * times, times * times)
    )
    fitted = np.divide(products, squares, out=np.ones(len(products)), where=squares > 0)
    return np.where(np.repeat(squares > 0, np.diff(indptr)), np.repeat(fitted, np.diff(indptr)), unit)


def cell_minimum(values: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """Smallest positive value of each cell; 0 for a cell without any."""
    positive = np.where(values > 0, values, np.inf)
    lowest = np.full(len(indptr) - 1, np.inf)
    filled = np.diff(indptr) > 0
    if filled.any():
        lowest[filled] = np.minimum.reduceat(positive, indptr[:-1][filled])
    return np.where(np.isfinite(lowest), lowest, 0)


def is_whole(ratios: np.ndarray) -> np.ndarray:
    """Whether each ratio is a whole number within the tolerance."""
    return np.abs(ratios - np.rint(ratios)) <= TOLERANCE + RELATIVE_TOLERANCE * ratios


def is_informative(ratios: np.ndarray) -> np.ndarray:
    """Whether each ratio says anything: the smallest value is whole by construction, a very large one by chance."""
    return (ratios > 1 + TOLERANCE) & (ratios <= MAX_TESTED)


def share_whole(ratios: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """Share of whole ratios among the informative ones of each cell; 1 where there are none."""
    informative = is_informative(ratios)
    n_informative, n_whole = (
        np.diff(np.concatenate([[0], np.cumsum(flags)])[indptr])
        for flags in (informative, informative & is_whole(ratios))
    )
    return np.divide(n_whole, n_informative, out=np.ones(len(n_whole)), where=n_informative > 0)


def misfit_columns(block: sp.csr_matrix, known: sp.csr_matrix, recovery: Recovery) -> np.ndarray:
    """Columns whose values are no multiples of one count, which the known genes of the same cells tell: no genes.

    Returns
    -------
    bool (n_columns,).
    """
    unit = np.ones(block.shape[0])
    filled = np.diff(known.indptr) > 0
    values = SCALES[recovery.scale](known.data.astype(np.float64))
    unit[filled] = unit_of_entries(values, known.indptr)[known.indptr[:-1][filled]]
    with np.errstate(over="ignore", invalid="ignore"):
        ratios = SCALES[recovery.scale](block.data.astype(np.float64)) / np.repeat(unit, np.diff(block.indptr))
        # A count is 1 or more, up to what rounding does to it.
        misses = ~(is_whole(ratios) & (ratios > 1 - TOLERANCE) & (ratios < MAX_COUNT))
    n_missed, n_values = (
        np.bincount(block.indices, weights=weights, minlength=block.shape[1])
        for weights in (misses.astype(np.float64), np.ones(block.nnz))
    )
    return n_missed > (1 - MIN_WHOLE) * n_values


def find_rounded(block: sp.csr_matrix) -> Recovery | None:
    """How counts come back from normalised values that were rounded to whole numbers, or None.

    One count must have been many units: then rounding leaves the multiples, and other whole numbers are none of it.
    """
    smallest = cell_minimum(block.data.astype(np.float64), block.indptr)
    smallest = smallest[smallest > 0]
    if not len(smallest) or np.median(smallest) < MIN_UNIT:
        return None
    return find_recovery(block, scales=("no logarithm",))


def find_recovery(block: sp.csr_matrix, scales: tuple[str, ...] = tuple(SCALES)) -> Recovery | None:
    """The scale whose undoing makes the values of sample cells whole multiples of each cell's smallest one, or None.

    Where several scales pass (small counts alone tell them hardly apart), the one closest to whole numbers wins.
    """
    passed = []
    for scale in scales:
        undo = SCALES[scale]
        if scale != "no logarithm" and block.data.max() > MAX_LOGGED:
            continue
        values = undo(block.data.astype(np.float64))
        per_cell = cell_minimum(values, block.indptr)
        smallest = np.repeat(per_cell, np.diff(block.indptr))
        ratios = values / np.where(smallest > 0, smallest, 1)
        tested = ratios[is_informative(ratios)]
        if len(tested) <= MIN_TESTED * (ratios > 1 + TOLERANCE).sum() or is_rounding(per_cell):
            continue
        if (share := float(is_whole(tested).mean())) >= MIN_WHOLE:
            passed.append((float(np.abs(tested - np.rint(tested)).mean()), Recovery(scale, share)))
    return min(passed, key=lambda p: p[0])[1] if passed else None


def is_rounding(smallest: np.ndarray) -> bool:
    """Whether most cells have the same smallest value of 0.1, 0.01, ...: that is rounding (TPM, FPKM), no count.

    One count of a normalised cell is its share of the cell's own total, so it differs from cell to cell.
    """
    digits = -np.log10(smallest[smallest > 0])
    is_decimal = (np.abs(digits - np.rint(digits)) < 0.003) & (np.rint(digits) >= 1)
    return len(digits) > 0 and is_decimal.mean() > 0.5


def count_failing(block: sp.csr_matrix, recovery: Recovery) -> int:
    """Cells of a block whose values do not come out whole."""
    values = SCALES[recovery.scale](block.data.astype(np.float64))
    return int((share_whole(values / unit_of_entries(values, block.indptr), block.indptr) < MIN_WHOLE).sum())
