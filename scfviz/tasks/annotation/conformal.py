"""Sets of possible types that hold the right one as often as asked for, type by type.

Each type is calibrated on cells of its own (Mondrian conformal prediction), so that a rare type is covered as well as a
common one. Two scores are calibrated: how little the type is believed, and how far the cell lies from the type's cells.
A cell that fits no type by one of them has an empty set.

Source: Vovk et al. 2005, Algorithmic Learning in a Random World, chapter 4.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 10  # cells of a type below which its own coverage is not reported


@dataclass(frozen=True)
class Calibration:
    """Scores of held-out cells under their own type, sorted, by type; high means strange."""

    scores: tuple[np.ndarray, ...]

    @classmethod
    def fit(cls, scores: np.ndarray, truth: np.ndarray) -> "Calibration":
        """Take each held-out cell's score under its own type.

        Parameters
        ----------
        scores
            (n, K), high where a cell does not look like the type.
        truth
            int (n,).
        """
        own = scores[np.arange(len(truth)), truth]
        return cls(tuple(np.sort(own[truth == k]) for k in range(scores.shape[1])))

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Share of held-out cells of each type that are as strange as these cells: float32 (n, K)."""
        found = np.empty(scores.shape, dtype=np.float32)
        for k, known in enumerate(self.scores):
            stranger = len(known) - np.searchsorted(known, scores[:, k] - 1e-12, side="left")
            found[:, k] = (stranger + 1) / (len(known) + 1)
        return found


def disbelief(probabilities: np.ndarray) -> np.ndarray:
    """One minus the probability, and the same for all that is believed more than half.

    Where held-out cells are all but certain, a probability of 0.97 would be stranger than nearly all of them, and a
    clear cell of another laboratory would be called unknown. Sets only grow by it.
    """
    return np.maximum(1 - probabilities, 0.5)


def sets_of(p_values: Sequence[np.ndarray], coverage: float) -> np.ndarray:
    """bool (n, K): types that cannot be excluded.

    Parameters
    ----------
    p_values
        One (n, K) array for each kind of score; the error is shared out among them.
    coverage
        How often the right type should be in, 0 to 1.
    """
    level = (1 - coverage) / len(p_values)
    return np.logical_and.reduce([values > level for values in p_values])


def measure_coverage(
    scores: Sequence[np.ndarray], truth: np.ndarray, folds: np.ndarray, coverage: float
) -> dict[str, float | None]:
    """How often the set really holds the right type, each fold with the calibration of the others.

    Returns
    -------
    dict
        `marginal` over all cells, `worst_class` over types with at least 10 cells (None where there are none),
        `mean_size` of a set, `empty` share of empty sets.
    """
    inside, size = np.zeros(len(truth), dtype=bool), np.zeros(len(truth))
    for fold in np.unique(folds):
        held = folds == fold
        known = [Calibration.fit(part[~held], truth[~held]) for part in scores]
        sets = sets_of([one.p_values(part[held]) for one, part in zip(known, scores, strict=True)], coverage)
        inside[held], size[held] = sets[np.arange(held.sum()), truth[held]], sets.sum(axis=1)
    n_cells = np.bincount(truth, minlength=scores[0].shape[1])
    by_class = np.bincount(truth, inside, len(n_cells)) / np.maximum(n_cells, 1)
    worst = by_class[n_cells >= FEWEST]
    return {
        "marginal": float(inside.mean()),
        "worst_class": float(worst.min()) if len(worst) else None,
        "mean_size": float(size.mean()),
        "empty": float((size == 0).mean()),
    }
