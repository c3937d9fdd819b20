"""What each view of an unknown is worth: weights learned on held-out parts of the data at hand.

A prediction combines views: what is known without the model (means, neighbours, regression), and what the model says.
Every view predicts parts of the data that it did not learn from; weights that sum to one make the combined prediction
best there. A view that knows nothing gets no weight, so the answer is never clearly worse than the best simple method,
and what the model adds is a number with an interval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from scfviz.errors import DatasetError

Loss = Literal["log", "squared"]
N_FOLDS, N_RESAMPLES = 10, 1000
_FLOOR = 1e-6  # of a probability
_SMALLEST = 0.01  # weights below it are none


@dataclass(frozen=True)
class Gain:
    """By how much one prediction is better than another.

    Attributes
    ----------
    share
        Part of the other's loss that it takes away: 0.1 is a loss lower by 10 %, negative is worse.
    low, high
        Ends of the 95 % interval, by resampling units.
    n_units
        Units that were predicted.
    """

    share: float
    low: float
    high: float
    n_units: int

    @property
    def is_clear(self) -> bool:
        """Whether the whole interval says that it is better."""
        return self.low > 0


@dataclass(frozen=True)
class ViewWeights:
    """How views are combined, and what that is worth.

    Attributes
    ----------
    weights
        By name of the view, at least 0, their sum is 1.
    losses
        Mean loss over units of each view alone, by its name.
    combined_loss
        Of the combination, each unit with weights that were learned on others.
    best
        The single view with the least loss.
    gain
        Of the combination over that view.
    """

    weights: dict[str, float]
    losses: dict[str, float]
    combined_loss: float
    best: str
    gain: Gain


def combine(views: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> np.ndarray:
    """The weighted mean of views.

    Parameters
    ----------
    views
        Arrays of one shape, by name; a view without a weight may be left out.
    weights
        See `ViewWeights`.
    """
    used = {name: weight for name, weight in weights.items() if weight > 0}
    return sum(weight * np.asarray(views[name], dtype=np.float64) for name, weight in used.items())


def weigh(
    views: Mapping[str, np.ndarray], truth: np.ndarray, units: np.ndarray, *, loss: Loss, seed: int = 0
) -> ViewWeights:
    """Learn what each view is worth from predictions of parts that it did not learn from.

    Every unit counts the same, however many rows it has. With few units the weights stay near equal ones.

    Parameters
    ----------
    views
        By name, out-of-fold predictions. For "log" probabilities (n, n_classes), for "squared" numbers (n,) or (n, m).
    truth
        For "log" int (n,), the class of each row; for "squared" of the views' shape.
    units
        (n,): what each row belongs to of that which is to be predicted (a donor, a perturbation, a line, a cell).
    loss
        "log": minus the logarithm of the true class's probability; "squared": the mean squared error of a row.

    Raises
    ------
    DatasetError
        There are no rows, or a view does not fit the truth or is not finite.

    Source: stacking, Wolpert 1992, doi:10.1016/S0893-6080(05)80023-1; with non-negative weights, Breiman 1996,
    doi:10.1007/BF00117832.
    """
    problem = _Problem(views, truth, units, loss)
    alone = {name: problem.losses(weights).mean() for name, weights in zip(views, np.eye(len(views)), strict=True)}
    best = min(alone, key=alone.__getitem__)
    combined = problem.cross_fit(seed)
    of_best = problem.losses(np.eye(len(views))[list(views).index(best)])
    weights = dict(zip(views, map(float, problem.fit()), strict=True))
    gain = _gain(of_best, combined, seed)
    return ViewWeights(
        weights, {name: float(value) for name, value in alone.items()}, float(combined.mean()), best, gain
    )


def gain_from(
    added: Sequence[str],
    views: Mapping[str, np.ndarray],
    truth: np.ndarray,
    units: np.ndarray,
    *,
    loss: Loss,
    seed: int = 0,
) -> Gain:
    """What some views add to the others: the combination of all against the combination without them.

    Parameters
    ----------
    added
        Names of views, for example those that need the model; at least one other remains.
    views, truth, units, loss
        See `weigh`.
    """
    rest = {name: view for name, view in views.items() if name not in added}
    without = _Problem(rest, truth, units, loss).cross_fit(seed)
    return _gain(without, _Problem(views, truth, units, loss).cross_fit(seed), seed)


class _Problem:
    """Views, truth and units of one question."""

    def __init__(self, views: Mapping[str, np.ndarray], truth: np.ndarray, units: np.ndarray, loss: Loss):
        truth = np.asarray(truth)
        _check(views, truth, units, loss)
        _, self._unit, sizes = np.unique(np.asarray(units), return_inverse=True, return_counts=True)
        self.n_units = len(sizes)
        self._share = 1 / sizes[self._unit]  # of a row in the loss of its unit
        self._loss = loss
        if loss == "log":
            rows = np.arange(len(truth))
            self._table = np.stack([np.maximum(np.asarray(v)[rows, truth], _FLOOR) for v in views.values()], axis=1)
        else:
            errors = [np.asarray(v, dtype=np.float64) - truth for v in views.values()]
            flat = np.stack([e.reshape(len(truth), -1) for e in errors], axis=1)
            self._table = np.einsum("nvm,nwm->nvw", flat, flat) / flat.shape[2]  # losses are quadratic in the weights

    def losses(self, weights: np.ndarray, units: np.ndarray | None = None) -> np.ndarray:
        """Mean loss of each unit, float64 (n_units,); of all units, or of those numbered."""
        table = self._table
        rows = -np.log(table @ weights) if self._loss == "log" else np.einsum("nvw,v,w->n", table, weights, weights)
        found = np.bincount(self._unit, weights=rows * self._share, minlength=self.n_units)
        return found if units is None else found[units]

    def fit(self, units: np.ndarray | None = None) -> np.ndarray:
        """Weights with the least loss on some units, float64 (n_views,)."""
        from scipy.optimize import minimize

        n_views = self._table.shape[1]
        equal = np.full(n_views, 1 / n_views)
        taken = np.ones(self.n_units, dtype=bool) if units is None else np.isin(np.arange(self.n_units), units)
        n_taken, rows = int(taken.sum()), taken[self._unit]
        if n_views == 1 or n_taken == 0:
            return equal
        table, share = self._table[rows], self._share[rows] / n_taken
        scale = max(self.losses(equal)[taken].mean(), _FLOOR)

        def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
            if self._loss == "log":
                said = np.maximum(table @ weights, _FLOOR)
                value, slope = -(share @ np.log(said)), -(table.T @ (share / said))
            else:
                each = np.einsum("nvw,w->nv", table, weights)
                value, slope = share @ (each @ weights), 2 * (share @ each)
            away = weights - equal
            return value / scale + away @ away / n_taken, slope / scale + 2 * away / n_taken

        sums_to_one = {"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones(n_views)}
        found = minimize(
            objective,
            equal,
            jac=True,
            method="SLSQP",
            bounds=[(0, 1)] * n_views,
            constraints=[sums_to_one],
            options={"ftol": 1e-10, "maxiter": 300},
        ).x
        found = np.where(found < _SMALLEST, 0, found)
        return found / found.sum()

    def cross_fit(self, seed: int) -> np.ndarray:
        """Loss of each unit with weights that were learned on the units of other folds, float64 (n_units,)."""
        order = np.random.default_rng(seed).permutation(self.n_units)
        found = np.empty(self.n_units)
        for held_out in np.array_split(order, min(N_FOLDS, self.n_units)):
            found[held_out] = self.losses(self.fit(np.setdiff1d(order, held_out)), held_out)
        return found


def _gain(before: np.ndarray, after: np.ndarray, seed: int) -> Gain:
    """From the losses of the same units, float64 (n_units,) each."""
    n_units = len(before)
    share = _less(before.mean(), after.mean())
    if n_units < 2:
        return Gain(share, float("-inf"), float("inf"), n_units)
    rng = np.random.default_rng(seed)
    shares = []
    for _ in range(N_RESAMPLES):
        drawn = rng.integers(0, n_units, n_units)
        shares.append(_less(before[drawn].mean(), after[drawn].mean()))
    low, high = np.quantile(shares, [0.025, 0.975])
    return Gain(share, float(low), float(high), n_units)


def _less(before: float, after: float) -> float:
    return float((before - after) / before) if before > 0 else (0.0 if after <= 0 else float("-inf"))


def _check(views: Mapping[str, np.ndarray], truth: np.ndarray, units: np.ndarray, loss: Loss) -> None:
    is_log = loss == "log"
    if not views or not len(truth):
        raise DatasetError(f"{len(views)} views of {len(truth):,} rows.", "At least one of each is needed.")
    if len(units) != len(truth):
        raise DatasetError(f"{len(units):,} units for {len(truth):,} rows.", "Each row belongs to one unit.")
    for name, view in views.items():
        shape = np.shape(view)
        fits = len(shape) == 2 and shape[0] == len(truth) if is_log else shape == truth.shape
        if not fits or (is_log and not (0 <= truth.min() and truth.max() < shape[1])):
            raise DatasetError(f"The view '{name}' has shape {shape}, the truth {truth.shape}.", "They must agree.")
        if not np.isfinite(view).all():
            raise DatasetError(f"The view '{name}' has missing or infinite values.", "Every row needs a prediction.")
