"""Groups of cells and drugs: shares that are called, drugs that differ, and drugs that together cover all groups."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scfviz.tasks.drug_sensitivity.compute import SURE

if TYPE_CHECKING:
    import pandas as pd

MOST_TOGETHER = 4


@dataclass(frozen=True)
class Cover:
    """Drugs that together cover groups.

    Attributes
    ----------
    drugs
        Places of the drugs, in the order in which they were added.
    covered
        (len(drugs),) share of the cells, every group counting the same, that some drug so far is likely to hit.
    least
        (len(drugs),) the same in the group that is covered worst.
    by_group
        (len(drugs), n_groups): probability that the best drug so far hits the group's cells.
    """

    drugs: tuple[int, ...]
    covered: np.ndarray
    least: np.ndarray
    by_group: np.ndarray


def group_means(probability: np.ndarray, codes: np.ndarray, n_groups: int) -> np.ndarray:
    """float64 (n_groups, n_drugs): mean over the cells of each group; NaN for a group without cells.

    Parameters
    ----------
    probability
        (n_cells, n_drugs); NaN cells are left out.
    codes
        int (n_cells,), -1 for cells of no group.
    """
    found = np.full((n_groups, probability.shape[1]), np.nan)
    for k in range(n_groups):
        part = np.asarray(probability[np.flatnonzero(codes == k)], dtype=np.float64)
        part = part[np.isfinite(part).any(axis=1)]
        if len(part):
            found[k] = part.mean(axis=0)
    return found


def describe_groups(probability: np.ndarray, codes: np.ndarray, names: list[str], sure: float = SURE) -> "pd.DataFrame":
    """One drug by group: cells, median probability, and the shares called sensitive, resistant and neither.

    Parameters
    ----------
    probability
        (n_cells,), of one drug.
    """
    import pandas as pd

    rows = []
    for k, name in enumerate(names):
        part = probability[codes == k]
        part = part[np.isfinite(part)]
        if len(part):
            sensitive, resistant = float(np.mean(part >= sure)), float(np.mean(part <= 1 - sure))
            shares = {"sensitive": sensitive, "resistant": resistant, "cannot_tell": max(1 - sensitive - resistant, 0)}
            rows.append({"group": name, "n_cells": len(part), "median": float(np.median(part))} | shares)
    columns = ["group", "n_cells", "median", "sensitive", "resistant", "cannot_tell"]
    return pd.DataFrame(rows, columns=columns)


def rank_differences(probability: np.ndarray, first: np.ndarray, second: np.ndarray) -> "pd.DataFrame":
    """Drugs by how far two groups of cells differ.

    Parameters
    ----------
    probability
        (n_cells, n_drugs).
    first, second
        bool (n_cells,).

    Returns
    -------
    pd.DataFrame
        One row a drug, in their order: `first`, `second` (mean probability), `difference`, and `overlap`, the
        probability that a cell of the first group has a higher one than a cell of the second (0.5: no difference).
    """
    import pandas as pd
    from scipy.stats import rankdata

    known = np.isfinite(probability).any(axis=1)
    one, two = (np.asarray(probability[np.flatnonzero(rows & known)], dtype=np.float64) for rows in (first, second))
    n, m = len(one), len(two)
    if not n or not m:
        nothing = np.full(probability.shape[1], np.nan)
        return pd.DataFrame({"first": nothing, "second": nothing, "difference": nothing, "overlap": nothing})
    ranks = rankdata(np.concatenate([one, two]), axis=0)[:n].sum(axis=0)
    means = one.mean(axis=0), two.mean(axis=0)
    overlap = (ranks - n * (n + 1) / 2) / (n * m)
    return pd.DataFrame({"first": means[0], "second": means[1], "difference": means[0] - means[1], "overlap": overlap})


def cover_groups(means: np.ndarray, allowed: np.ndarray, most: int = MOST_TOGETHER) -> Cover:
    """Drugs that together cover all groups: each next one raises the mean over groups of the best probability most.

    Ties go to the drug that helps the worst group, then to the first. It stops when nothing is gained. A simple rule:
    whether two drugs can be combined, or act alike, is not known to it.

    Parameters
    ----------
    means
        (n_groups, n_drugs), see `group_means`; NaN groups or drugs are left out.
    allowed
        bool (n_drugs,).
    """
    groups = means[np.isfinite(means).any(axis=1)]
    usable = np.flatnonzero(allowed & np.isfinite(groups).all(axis=0)) if len(groups) else np.array([], dtype=int)
    best = np.zeros(len(groups))
    drugs, covered, least, by_group = [], [], [], []
    while len(drugs) < most and len(usable):
        together = np.maximum(best[:, None], groups[:, usable])
        order = np.lexsort([-together.min(axis=0), -np.round(together.mean(axis=0), 9)])
        place = int(usable[order[0]])
        gained = float(together[:, order[0]].mean() - best.mean())
        if gained < 0.005:
            break
        best = together[:, order[0]]
        drugs.append(place)
        covered.append(best.mean())
        least.append(best.min())
        by_group.append(best)
    shape = (len(drugs), len(groups))
    return Cover(tuple(drugs), np.array(covered), np.array(least), np.array(by_group).reshape(shape))
