"""One score of several methods on the same cells, resampled together, and who is ahead."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

N_RESAMPLES = 400
INTERVAL = (2.5, 97.5)  # percentiles of the resampled difference that decide who is ahead
AHEAD, BEHIND, UNCLEAR = "ahead", "behind", "no clear difference"


@dataclass(frozen=True)
class Comparison:
    """What each method reached in one metric on one dataset.

    Attributes
    ----------
    score, dataset, metric
        What was asked, of which cells, and the number that answers it.
    values
        The number on all cells, by method.
    resampled
        float64 (R,) by method: the number on cells drawn with replacement, the same draw for every method.
    models
        Which methods are checkpoints; the others are baselines.
    n_cells, n_available
        Cells scored, of how many.
    note
        What else a reader must know.
    without_model
        The method among `values` that does the same as the checkpoints without any, so that the difference is what they
        add. It is among the baselines only where it is the only one.
    """

    score: str
    dataset: str
    metric: str
    values: Mapping[str, float]
    resampled: Mapping[str, np.ndarray]
    models: tuple[str, ...]
    n_cells: int
    n_available: int
    higher_is_better: bool
    note: str = ""
    without_model: str | None = None

    def row(self, model: str) -> dict[str, Any]:
        """The result of one checkpoint beside the baselines, as flat plain values."""
        simple = {name: value for name, value in self.values.items() if name not in self.models}
        baselines = {name: value for name, value in simple.items() if name != self.without_model} or simple
        best = (max if self.higher_is_better else min)(baselines, key=baselines.__getitem__)
        low, high = self.difference(model, best)
        return {
            "score": self.score,
            "dataset": self.dataset,
            "metric": self.metric,
            "model": _short(self.values[model]),
            "spread": _short(np.std(self.resampled[model])),
            "baselines": {name: _short(value) for name, value in baselines.items()},
            "baseline_spreads": {name: _short(np.std(self.resampled[name])) for name in baselines},
            "best_baseline": best,
            "difference_low": _short(low),
            "difference_high": _short(high),
            "verdict": self.verdict(model, best),
            "verdicts": {name: self.verdict(model, name) for name in baselines},
            "without_model": None if self.without_model is None else _short(self.values[self.without_model]),
            "model_adds": None if self.without_model is None else self.verdict(model, self.without_model),
            "n_cells": self.n_cells,
            "n_available": self.n_available,
            "higher_is_better": self.higher_is_better,
            "note": self.note,
        }

    def difference(self, one: str, other: str) -> tuple[float, float]:
        """95 % interval of `one` minus `other`, from the same resampled cells."""
        low, high = np.percentile(self.resampled[one] - self.resampled[other], INTERVAL)
        return float(low), float(high)

    def verdict(self, one: str, other: str) -> str:
        """`ahead` or `behind` where the interval of the difference leaves out zero."""
        low, high = self.difference(one, other)
        if low <= 0 <= high:
            return UNCLEAR
        return AHEAD if (low > 0) == self.higher_is_better else BEHIND


def resample_means(
    sums: Mapping[str, np.ndarray], weights: np.ndarray, *, seed: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """A mean over cells, and the same mean over cells drawn with replacement.

    Parameters
    ----------
    sums
        (n_cells,) by method: each cell's sum of what is averaged.
    weights
        (n_cells,) how many terms each cell's sum has; at least one above zero.

    Returns
    -------
    tuple
        Value by method, float64 (R,) by method.
    """
    n_cells = len(weights)
    # multiplicity of each cell in each draw; a draw without any term keeps the plain mean
    draws = np.random.default_rng(seed).multinomial(n_cells, np.full(n_cells, 1 / n_cells), N_RESAMPLES)
    draws[draws @ weights == 0] = 1
    values = {name: float(part.sum() / weights.sum()) for name, part in sums.items()}
    return values, {name: (draws @ part) / (draws @ weights) for name, part in sums.items()}


def resample_labels(
    predicted: Mapping[str, np.ndarray],
    truth: np.ndarray,
    statistic: Callable[[np.ndarray], float],
    *,
    seed: int,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """A statistic of labels against the truth, and the same of cells drawn with replacement.

    Parameters
    ----------
    predicted
        int (n_cells,) or (S, n_cells) by method: labels or clusters; of S runs the mean counts, and the draws take
        turns through them, so that the spread holds that of the runs.
    truth
        int (n_cells,).
    statistic
        Takes a table of counts, truth by prediction.
    """
    draws = np.random.default_rng(seed).integers(0, len(truth), (N_RESAMPLES, len(truth)))
    values, resampled = {}, {}
    for name, runs in predicted.items():
        runs = np.atleast_2d(runs)
        values[name] = float(np.mean([statistic(table_of(truth, run)) for run in runs]))
        resampled[name] = np.array(
            [statistic(table_of(truth[draw], runs[i % len(runs)][draw])) for i, draw in enumerate(draws)]
        )
    return values, resampled


def table_of(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Counts of truth (rows) by prediction (columns), both whole numbers from 0; square or wider."""
    n_rows = int(truth.max()) + 1
    n_columns = max(int(predicted.max()) + 1, n_rows)
    return np.bincount(truth * n_columns + predicted, minlength=n_rows * n_columns).reshape(n_rows, n_columns)


def macro_f1(table: np.ndarray) -> float:
    """Mean F1 over the labels that occur in the truth or in the predictions."""
    size = table.shape[1]
    table = np.pad(table, ((0, size - len(table)), (0, 0)))
    of_truth, of_predicted, right = table.sum(axis=1), table.sum(axis=0), np.diag(table)
    present = of_truth + of_predicted > 0
    return float(np.mean(2 * right[present] / (of_truth + of_predicted)[present]))


def rand_index(table: np.ndarray) -> float:
    """Adjusted Rand index (Hubert & Arabie 1985): 0 by chance, 1 when both partitions are the same."""
    table = table.astype(np.float64)
    pairs = [float((part * (part - 1)).sum()) / 2 for part in (table, table.sum(axis=1), table.sum(axis=0))]
    n = table.sum()
    expected, most = pairs[1] * pairs[2] / (n * (n - 1) / 2), (pairs[1] + pairs[2]) / 2
    return 1.0 if most == expected else (pairs[0] - expected) / (most - expected)


def mutual_information(table: np.ndarray) -> float:
    """Normalised mutual information (arithmetic mean of the entropies), 0 to 1."""
    shares = table / table.sum()
    joint, rows, columns = (_entropy(part) for part in (shares, shares.sum(axis=1), shares.sum(axis=0)))
    return 1.0 if rows + columns == 0 else max(0.0, 2 * (rows + columns - joint) / (rows + columns))


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def _short(value: float) -> float:
    """Five significant digits: more would be noise, and files stay readable."""
    return float(f"{value:.5g}")
