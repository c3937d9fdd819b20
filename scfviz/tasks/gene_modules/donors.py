"""Modules and regulators compared between two groups of cells over donors: cells of one donor are no repeats."""

from typing import TYPE_CHECKING

import numpy as np

from scfviz.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

FEWEST_DONORS, FEWEST_CELLS = 3, 10


def compare_over_donors(
    values: np.ndarray,
    names: "Sequence[str]",
    groups: np.ndarray,
    donors: np.ndarray,
    first: str,
    second: str,
) -> "pd.DataFrame":
    """Difference of the mean over cells of each donor between two groups, and how sure it is over donors.

    Where three donors have ten cells of both groups their differences are tested (paired t), else the means of donors
    of the one against those of the other (Welch's t).

    Parameters
    ----------
    values, names
        float (n_cells, n): scores or activities, and what each column is of.
    groups, donors
        str (n_cells,); an empty donor is unknown.
    first, second
        The groups: `difference` is the first less the second.

    Returns
    -------
    DataFrame
        `name`, `first` and `second` (means over donors), `difference`, `low` and `high` (95 % interval), `pvals`,
        `pvals_adj` (Benjamini-Hochberg), `n_first` and `n_second` donors, `is_paired`; the smallest p first.

    Raises
    ------
    OptionError
        A group has fewer than three donors with ten cells.
    """
    import pandas as pd
    from scipy import stats

    from scfviz.analysis.differential_expression import adjust

    one, other = (_mean_of_donors(values, donors, (groups == group) & (donors != "")) for group in (first, second))
    both = [donor for donor in one if donor in other]
    is_paired = len(both) >= FEWEST_DONORS
    if not is_paired and min(len(one), len(other)) < FEWEST_DONORS:
        raise OptionError(
            f"'{first}' has {len(one)} donors with at least {FEWEST_CELLS} cells, '{second}' has {len(other)}.",
            f"At least {FEWEST_DONORS} of each are needed: cells of one donor are no repeats of an experiment.",
            "Choose other groups, or another column of donors.",
        )
    used = (both, both) if is_paired else (list(one), list(other))
    a, b = (np.stack([found[donor] for donor in mine]) for found, mine in zip((one, other), used, strict=True))
    if is_paired:
        difference = a - b
        error, df = difference.std(axis=0, ddof=1) / np.sqrt(len(both)), np.full(values.shape[1], len(both) - 1.0)
    else:
        parts = [found.var(axis=0, ddof=1) / len(found) for found in (a, b)]
        error, total = np.sqrt(sum(parts)), sum(parts)
        below = sum(part**2 / (len(found) - 1) for part, found in zip(parts, (a, b), strict=True))
        df = np.divide(total**2, below, out=np.ones_like(total), where=below > 0)
    center = a.mean(axis=0) - b.mean(axis=0)
    t = np.divide(center, error, out=np.zeros_like(center), where=error > 0)
    p, wide = 2 * stats.t.sf(np.abs(t), df), stats.t.ppf(0.975, df) * error
    table = pd.DataFrame(
        {
            "name": list(names),
            "first": a.mean(axis=0),
            "second": b.mean(axis=0),
            "difference": center,
            "low": center - wide,
            "high": center + wide,
            "pvals": p,
            "pvals_adj": adjust(p),
            "n_first": len(a),
            "n_second": len(b),
            "is_paired": is_paired,
        }
    )
    return table.sort_values("pvals", kind="stable", ignore_index=True)


def _mean_of_donors(values: np.ndarray, donors: np.ndarray, used: np.ndarray) -> dict[str, np.ndarray]:
    """By donor with at least ten of the used cells, float64 (n,)."""
    found = {}
    for donor in np.unique(donors[used]):
        mine = np.flatnonzero(used & (donors == donor))
        if len(mine) >= FEWEST_CELLS:
            found[str(donor)] = np.asarray(values[mine], dtype=np.float64).mean(axis=0)
    return found
