"""Sets of possible types that hold the right one as often as asked for, type by type.

Each type is calibrated on cells of its own (Mondrian conformal prediction), so that a rare type is covered as well as a
common one. Two scores are calibrated: how little the type is believed, and how far the cell lies from the type's cells.
A cell that fits no type by one of them has an empty set.

Source: Vovk et al. 2005, Algorithmic Learning in a Random World, chapter 4.5.
"""

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


@dataclass(frozen=True)
class SetCalibration:
    """What sets are made with: the calibration of each score on the same held-out cells."""

    disbelief: Calibration
    strangeness: Calibration

    @classmethod
    def fit(cls, disbeliefs: np.ndarray, strangeness: np.ndarray, truth: np.ndarray) -> "SetCalibration":
        """Take held-out cells' scores (n, K) under their own types, int (n,)."""
        return cls(Calibration.fit(disbeliefs, truth), Calibration.fit(strangeness, truth))

    def sets(self, disbeliefs: np.ndarray, strangeness: np.ndarray | None, coverage: float) -> np.ndarray:
        """Types that cannot be excluded, bool (n, K).

        Parameters
        ----------
        disbeliefs, strangeness
            (n, K); types are excluded by belief alone where no strangeness is given.
        coverage
            How often the right type should be in, 0 to 1. Belief may be wrong as often as that leaves, and distance
            half as often: belief hardly ever is, because what is believed more than half is never excluded by it. The
            sum is at most one and a half times the error; what was measured is nearer to it than with half for each
            (`benchmarks/NOTES.md`).
        """
        error = 1 - coverage
        found = forgiven(self.disbelief.p_values(disbeliefs), disbeliefs) > error
        return found if strangeness is None else found & (self.strangeness.p_values(strangeness) > error / 2)

    def credibility(self, disbeliefs: np.ndarray, strangeness: np.ndarray | None) -> np.ndarray:
        """float32 (n,): p-value of the type that fits best, nothing forgiven, so that it orders sure cells, too."""
        found = self.disbelief.p_values(disbeliefs)
        if strangeness is not None:
            found = np.minimum(found, self.strangeness.p_values(strangeness))
        return found.max(axis=1)


def disbelief(probabilities: np.ndarray) -> np.ndarray:
    """One minus the probability: what is calibrated, and orders cells by how strange they are."""
    return 1 - probabilities


def forgiven(p_values: np.ndarray, disbeliefs: np.ndarray) -> np.ndarray:
    """P-values with a type that is believed more than half never strange: what sets are made of.

    Where held-out cells are all but certain, a probability of 0.97 would be stranger than nearly all of them, and a
    clear cell of another laboratory would be called unknown. Sets only grow by it.
    """
    return np.where(disbeliefs <= 0.5, np.float32(1), p_values)


def measure_coverage(
    disbeliefs: np.ndarray,
    strangeness: np.ndarray,
    truth: np.ndarray,
    folds: np.ndarray,
    coverage: float,
    by_distance: bool = True,
) -> dict[str, float | None]:
    """How often the set really holds the right type, each fold with the calibration of the others.

    Parameters
    ----------
    disbeliefs, strangeness
        (n, K), of held-out cells.
    by_distance
        Whether sets look at the strangeness.

    Returns
    -------
    dict
        `marginal` over all cells, `worst_class` over types with at least 10 cells (None where there are none),
        `mean_size` of a set, `empty` share of empty sets.
    """
    inside, size = np.zeros(len(truth), dtype=bool), np.zeros(len(truth))
    for fold in np.unique(folds):
        held = folds == fold
        known = SetCalibration.fit(disbeliefs[~held], strangeness[~held], truth[~held])
        sets = known.sets(disbeliefs[held], strangeness[held] if by_distance else None, coverage)
        inside[held], size[held] = sets[np.arange(held.sum()), truth[held]], sets.sum(axis=1)
    n_cells = np.bincount(truth, minlength=disbeliefs.shape[1])
    by_class = np.bincount(truth, inside, len(n_cells)) / np.maximum(n_cells, 1)
    worst = by_class[n_cells >= FEWEST]
    return {
        "marginal": float(inside.mean()),
        "worst_class": float(worst.min()) if len(worst) else None,
        "mean_size": float(size.mean()),
        "empty": float((size == 0).mean()),
    }
