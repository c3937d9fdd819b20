"""Trees as arms of `drug_response.py`: a random forest, and gradient boosting on pairs of line and drug.

Each has six settings, as the other arms have, and chooses among them by lines that are held out of its training lines.
"""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor

from scfviz.tasks.drug_response.completion import fill
from scfviz.tasks.drug_response.factors import fit_factors

FOREST = tuple(product((50, 100), (2, 5, 10)))  # components of expression, fewest lines in a leaf
BOOSTING = tuple(product((15, 63, 255), (20, 100)))  # leaves of a tree, fewest pairs in a leaf
N_TREES, N_TREES_INNER, SHARE = 200, 30, 1 / 3
N_ROUNDS, EVERY, RATE, N_BINS = 200, 25, 0.2, 63
N_COMPONENTS, N_CHEMISTRY = 50, 30


def inner_folds(n: int) -> list[np.ndarray]:
    """The five folds of training lines over which every arm chooses its setting."""
    return np.array_split(np.random.default_rng(0).permutation(n), 5)


def choose_setting(train: np.ndarray, truth: np.ndarray, settings: tuple, fit: Callable) -> tuple[tuple, int]:
    """Setting and number of steps with the least squared error on the first of the inner folds.

    Parameters
    ----------
    fit
        Called with known lines, their responses, new lines and a setting; gives predictions by number of steps.
    """
    held = inner_folds(len(train))[0]
    rest = np.setdiff1d(np.arange(len(train)), held)
    said = {
        (setting, n): values
        for setting in settings
        for n, values in fit(train[rest], truth[rest], train[held], setting).items()
    }
    return min(said, key=lambda key: float(np.nansum((truth[held] - said[key]) ** 2)))


def forest(train: np.ndarray, truth: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Random forests on components of expression: of the mean over drugs, and of all drugs' rests at once."""
    filled = fill(truth)
    errors = np.zeros((2, len(FOREST)))
    for held in inner_folds(len(train)):
        rest = np.setdiff1d(np.arange(len(train)), held)
        for i, setting in enumerate(FOREST):
            said = _forests(train[rest], filled[rest], train[held], (setting, setting), N_TREES_INNER)
            off = truth[held] - filled[rest].mean(axis=0)
            of_line = np.nanmean(off, axis=1)
            errors[:, i] += np.nansum((of_line - said[0]) ** 2), np.nansum((off - of_line[:, None] - said[1]) ** 2)
    chosen = FOREST[errors[0].argmin()], FOREST[errors[1].argmin()]
    general, specific = _forests(train, filled, test, chosen, N_TREES)
    return filled.mean(axis=0) + general[:, None] + specific


def _forests(
    train: np.ndarray, filled: np.ndarray, test: np.ndarray, settings: tuple[tuple[int, int], ...], n_trees: int
) -> tuple[np.ndarray, np.ndarray]:
    """(n_test,) and (n_test, n_drugs): what all drugs share in a line, and the rest."""
    factors, known = fit_factors(train, max(k for k, _ in FOREST))
    new = factors.scores(factors.standardise(test))
    off = filled - filled.mean(axis=0)
    wanted = (off.mean(axis=1), off - off.mean(axis=1, keepdims=True))
    found = []
    for (k, fewest), values in zip(settings, wanted, strict=True):
        model = RandomForestRegressor(n_trees, max_features=SHARE, min_samples_leaf=fewest, random_state=0)
        found.append(model.fit(known[:, :k], values).predict(new[:, :k]))
    return found[0], found[1]


class Boosting:
    """Gradient boosting of histograms on pairs: components of expression, components of the drug's fingerprint, and its
    mean and spread over the training lines. What is learned is the difference to the drug's mean.

    The setting is chosen on the first of the inner folds and half of the pairs, and with it the number of rounds.

    Parameters
    ----------
    fingerprints
        bool (n_drugs, n_bits), zeros for a drug without structure.
    """

    def __init__(self, fingerprints: np.ndarray):
        left, length, _ = np.linalg.svd(fingerprints - fingerprints.mean(axis=0), full_matrices=False)
        self.chemistry = (left * length)[:, :N_CHEMISTRY]

    def __call__(self, train: np.ndarray, truth: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Predictions (n_test, n_drugs)."""
        setting, n_rounds = choose_setting(train, truth, BOOSTING, partial(self._rounds, share=0.5))
        return self._rounds(train, truth, test, setting, n_rounds=n_rounds)[n_rounds]

    def _rounds(
        self,
        train: np.ndarray,
        truth: np.ndarray,
        test: np.ndarray,
        setting: tuple[int, int],
        *,
        share: float = 1.0,
        n_rounds: int = N_ROUNDS,
    ) -> dict[int, np.ndarray]:
        """Predictions after every so many rounds."""
        mean, spread = np.nanmean(truth, axis=0), np.nanstd(truth, axis=0)
        factors, known = fit_factors(train, N_COMPONENTS)
        new = factors.scores(factors.standardise(test))
        of_drug = np.hstack([self.chemistry, mean[:, None], spread[:, None]])
        lines, drugs = np.nonzero(np.isfinite(truth))
        kept = np.random.default_rng(0).random(len(lines)) < share
        lines, drugs = lines[kept], drugs[kept]
        leaves, fewest = setting
        model = HistGradientBoostingRegressor(
            max_iter=n_rounds,
            learning_rate=RATE,
            max_leaf_nodes=leaves,
            min_samples_leaf=fewest,
            max_bins=N_BINS,
            early_stopping=False,
            random_state=0,
        )
        model.fit(np.hstack([known[lines], of_drug[drugs]]), (truth - mean)[lines, drugs])
        every = np.indices((len(test), len(mean))).reshape(2, -1)
        stages = model.staged_predict(np.hstack([new[every[0]], of_drug[every[1]]]))
        return {
            n: mean + values.reshape(len(test), -1)
            for n, values in enumerate(stages, start=1)
            if n % EVERY == 0 or n == n_rounds
        }
