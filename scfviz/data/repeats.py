"""Rows that name a gene again: the same counts twice, more of its counts, or an antibody against its protein."""

from dataclasses import dataclass, replace

import numpy as np

from scfviz.data.genes import GeneMatch, summed_words
from scfviz.data.scan import Scan

# An antibody is counted in nearly every cell, many times more often than the messages of its gene.
MIN_CELLS_OF_ANTIBODY = 0.8
MIN_TIMES_OF_ANTIBODY = 3
HIGH_AMONG_GENES = 0.95
# One such row alone may be a gene of its own; then only an extreme one is set apart.
MIN_TIMES_ALONE = 10
SAME_SIDE = 0.8
MIN_CERTAIN = 3
# Rows that agree in fewer cells may do so by chance.
MIN_CELLS_IN_COMMON = 3
N_SHOWN = 5


@dataclass(frozen=True)
class Repeats:
    """Rows of the file that are not added to their gene, (k,) each: `identical` ones, and `antibodies`."""

    identical: np.ndarray
    antibodies: np.ndarray


def find_repeats(match: GeneMatch, found: Scan) -> Repeats:
    """Look at all genes that several rows name.

    Parameters
    ----------
    match
        Which gene each row is.
    found
        Totals, cells and codes of the rows, from reading all their values.
    """
    target = match.target
    rows = np.flatnonzero(target >= 0)
    rows = rows[np.argsort(target[rows], kind="stable")]
    is_first = np.diff(target[rows], prepend=-1) != 0
    is_repeated = np.bincount(target[rows], minlength=len(match.genes))[target[rows]] > 1
    if not is_repeated.any():
        return Repeats(np.empty(0, int), np.empty(0, int))
    identical, pairs = [], []
    first, seen = -1, {}
    for row, starts in zip(rows[is_repeated], is_first[is_repeated], strict=True):
        content = (found.gene_totals[row], found.gene_codes[row])
        if starts:
            first, seen = row, {content}
        elif content in seen:
            identical.append(row)
        else:
            seen.add(content)
            pairs.append((first, row))
    # The same few molecules may be there twice by chance; whole columns may not.
    is_certain = found.gene_cells[identical] >= MIN_CELLS_IN_COMMON if identical else np.zeros(0, dtype=bool)
    same = np.array(identical, dtype=int)
    if is_certain.sum() <= sum(found.gene_totals[row] > 0 for _, row in pairs):
        same = same[is_certain]
    return Repeats(same, find_antibodies(pairs, rows[~is_repeated], found))


def find_antibodies(pairs: list[tuple[int, int]], alone: np.ndarray, found: Scan) -> np.ndarray:
    """Of (first, later) rows of a gene, those that count an antibody against its protein.

    It is judged from all pairs together: such rows are far larger than the others of their genes, in nearly all cells,
    high among the genes of the file, and all on the same side (antibodies follow the genes, or come before them).
    """
    none = np.empty(0, dtype=int)
    if not pairs:
        return none
    totals = found.gene_totals
    low, high = (
        np.array(side) for side in zip(*(sorted(pair, key=lambda r: totals[r]) for pair in pairs), strict=True)
    )
    later = np.array([pair[1] for pair in pairs])
    usual = np.quantile(totals[alone], HIGH_AMONG_GENES) if len(alone) else 0.0
    far = (
        (found.gene_cells[high] >= MIN_CELLS_OF_ANTIBODY * found.n_obs)
        & (totals[high] >= MIN_TIMES_OF_ANTIBODY * np.maximum(totals[low], 1))
        & (totals[high] > usual)
    )
    # A gene of which this file has nothing elsewhere may be measured by the other row alone.
    certain = far & (totals[low] > 0)
    if not certain.any() or 2 * far.sum() < len(pairs):
        return none
    side = (high == later)[certain].mean()
    if certain.sum() < 2:
        times = totals[high[certain]] / totals[low[certain]]
        if side < 1 or times[0] < MIN_TIMES_ALONE:
            return none
    if SAME_SIDE > side > 1 - SAME_SIDE:
        return none
    if certain.sum() >= MIN_CERTAIN:
        # Where most are antibodies, so are the others beside them, also where the gene itself is counted as often.
        others = later if side > 0.5 else np.array([pair[0] for pair in pairs])
        return np.unique(others[found.gene_cells[others] >= MIN_CELLS_OF_ANTIBODY * found.n_obs])
    return np.sort(high[far & ((high == later) == (side > 0.5))])


def resolve_repeats(match: GeneMatch, found: Scan, names: np.ndarray) -> GeneMatch:
    """The match without rows that would count a gene twice, and with sentences about them.

    Parameters
    ----------
    names
        Row names of the table of genes, (n_vars,).
    """
    repeats = find_repeats(match, found)
    if not len(repeats.identical) and not len(repeats.antibodies):
        return match
    target = match.target.copy()
    target[repeats.identical] = target[repeats.antibodies] = -1
    report, notices = match.report, []
    left = len(repeats.identical) + len(repeats.antibodies)
    is_summed = np.bincount(target[target >= 0], minlength=len(match.genes)) > 1
    summed = [match.genes[i] for i in np.flatnonzero(is_summed)]
    n_summed = report.n_summed - left
    for notice in report.notices:
        if notice != summed_words(report.n_summed, report.summed):
            notices.append(notice)
        elif n_summed:
            notices.append(summed_words(n_summed, summed))
    if n := len(repeats.identical):
        notices.append(
            f"{n:,} rows repeat a gene with the very same counts (for example {shown(names, repeats.identical)}); each "
            "gene is counted once."
        )
    if n := len(repeats.antibodies):
        genes = ", ".join(match.genes[match.target[row]] for row in repeats.antibodies[:N_SHOWN])
        notices.append(
            f"{n:,} rows have names of genes but sizes of antibodies, high in nearly all cells: "
            f"{shown(names, repeats.antibodies)}. They are left out, and not added to {genes}"
            f"{', ...' if n > N_SHOWN else ''}."
        )
    report = replace(
        report,
        n_summed=n_summed,
        summed=tuple(summed[: len(report.summed)]),
        n_identical=len(repeats.identical),
        antibodies=tuple(str(names[row]) for row in repeats.antibodies),
        notices=tuple(notices),
    )
    is_gene = match.is_gene.copy()
    is_gene[repeats.identical] = is_gene[repeats.antibodies] = False
    return replace(match, target=target, is_gene=is_gene, report=report)


def shown(names: np.ndarray, rows: np.ndarray) -> str:
    """The first names, and how many there are beside them."""
    more = f" and {len(rows) - N_SHOWN:,} others" if len(rows) > N_SHOWN else ""
    return ", ".join(str(names[row]) for row in rows[:N_SHOWN]) + more
