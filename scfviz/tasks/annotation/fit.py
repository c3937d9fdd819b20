"""Learning types from labelled cells: each method, its worth, its certainty, all measured on held-out parts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scfviz.tasks.annotation.conformal import SetCalibration, disbelief, measure_coverage
from scfviz.tasks.annotation.features import CellFeatures
from scfviz.tasks.annotation.methods import VIEWS, Method, Prototype, find_temperature, fit_method, tempered
from scfviz.tasks.annotation.scores import compare_macro_f1, risk_coverage, score_labels
from scfviz.tasks.views import combine, gain_from, weigh

N_FOLDS = 5
CURVE = (5, 10, 20, 50)
BASELINE = "genes_logistic"
_CURVE_CELLS, CURVE_REPEATS = 2_000, 3
_DOUBT = 1e-3  # shared among all types: no method is more certain than its few thousand cells can show


@dataclass(frozen=True)
class Learned:
    """Methods with what each is worth.

    Attributes
    ----------
    methods
        By name, fitted on all labelled cells.
    temperatures
        By name, and of the combination.
    weights
        By name, none below zero, summing to one.
    """

    methods: Mapping[str, Method]
    temperatures: Mapping[str, float]
    weights: Mapping[str, float]

    def probabilities(self, cells: CellFeatures) -> np.ndarray:
        """float64 (n, K): what all methods together say."""
        used = {name: self.methods[name] for name, weight in self.weights.items() if weight > 0}
        return self.join({name: method.log_probabilities(cells) for name, method in used.items()})

    def join(self, logs: Mapping[str, np.ndarray]) -> np.ndarray:
        """The combination from the log probabilities of each method."""
        views = {name: doubted(values, self.temperatures[name]) for name, values in logs.items()}
        used = {name: self.weights[name] for name in views}
        return tempered(np.log(np.maximum(combine(views, used), 1e-13)), self.temperatures["combination"])


@dataclass(frozen=True)
class HeldOut:
    """What methods say of labelled cells that they had not seen.

    Attributes
    ----------
    logs
        By method: float64 (n, K).
    strangeness
        float64 (n, K), see `Prototype.strangeness`.
    folds
        int (n,).
    """

    logs: Mapping[str, np.ndarray]
    strangeness: np.ndarray
    folds: np.ndarray


def doubted(log_probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Calibrated probabilities of one method, none nearer to zero than a thousandth among all types."""
    return (1 - _DOUBT) * tempered(log_probabilities, temperature) + _DOUBT / log_probabilities.shape[1]


def make_folds(truth: np.ndarray, units: np.ndarray | None, n_folds: int = N_FOLDS, seed: int = 0) -> np.ndarray:
    """int (n,): the part in which each cell is held out.

    Units stay whole, so that a donor is held out with all of its cells; cells of a type that only one unit has are
    dealt out cell by cell, because nothing could be learned of it otherwise. Types are spread evenly.
    """
    rng = np.random.default_rng(seed)
    folds = np.full(len(truth), -1)
    if units is not None:
        names, numbers = np.unique(units, return_inverse=True)
        load = np.zeros(n_folds)
        of_unit = np.zeros(len(names), dtype=int)
        for unit in np.argsort(-np.bincount(numbers), kind="stable"):
            of_unit[unit] = load.argmin()
            load[load.argmin()] += (numbers == unit).sum()
        for k in np.unique(truth):
            mine = truth == k
            if len(np.unique(of_unit[numbers[mine]])) > 1:
                folds[mine] = of_unit[numbers[mine]]
    for k in np.unique(truth):
        left = np.flatnonzero((truth == k) & (folds < 0))
        folds[rng.permutation(left)] = (np.arange(len(left)) + rng.integers(n_folds)) % n_folds
    return np.unique(folds, return_inverse=True)[1]


def hold_out(
    cells: CellFeatures,
    truth: np.ndarray,
    n_classes: int,
    folds: np.ndarray,
    names: Sequence[str] = VIEWS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> HeldOut:
    """Learn on all folds but one, look at that one; for each fold."""
    logs = {name: np.zeros((len(truth), n_classes)) for name in names}
    strangeness = np.zeros((len(truth), n_classes))
    parts = np.unique(folds)
    for number, fold in enumerate(parts):
        held, known = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        seen, there = cells.take(known), cells.take(held)
        for name in names:
            logs[name][held] = fit_method(name, seen, truth[known], n_classes).log_probabilities(there)
        strangeness[held] = Prototype.fit("joint", seen, truth[known], n_classes).strangeness(there)
        progress(number + 1, len(parts))
    return HeldOut(logs, strangeness, folds)


def learn(
    cells: CellFeatures,
    truth: np.ndarray,
    n_classes: int,
    held: HeldOut,
    units: np.ndarray,
    method: str = "combination",
) -> Learned:
    """Weigh the methods by what they said of held-out cells, and fit each on all cells."""
    temperatures = {name: find_temperature(logs, truth) for name, logs in held.logs.items()}
    views = {name: doubted(logs, temperatures[name]) for name, logs in held.logs.items()}
    weights = weigh(views, truth, units, loss="log").weights if method == "combination" else {method: 1.0}
    used = {name: float(weight) for name, weight in weights.items()}
    joined = combine({name: views[name] for name in used}, used)
    temperatures["combination"] = find_temperature(np.log(np.maximum(joined, 1e-13)), truth)
    fitted = {name: fit_method(name, cells, truth, n_classes) for name in used if used[name] > 0}
    return Learned(fitted, temperatures, used)


def score(
    learned: Learned,
    held: HeldOut,
    truth: np.ndarray,
    units: np.ndarray,
    coverage: float,
    labels: Sequence[str],
    by_distance: bool = True,
) -> dict[str, Any]:
    """What was measured on held-out cells: each method, the combination against logistic regression, coverage."""
    n_classes = len(labels)
    views = {name: doubted(logs, learned.temperatures[name]) for name, logs in held.logs.items()}
    joined = learned.join({name: held.logs[name] for name in learned.weights})
    found = {name: values.argmax(axis=1) for name, values in views.items()}
    covered = measure_coverage(disbelief(joined), held.strangeness, truth, held.folds, coverage, by_distance)
    scores: dict[str, Any] = {
        "methods": {"combination": score_labels(joined, truth)} | {n: score_labels(v, truth) for n, v in views.items()},
        "weights": dict(learned.weights),
        "coverage": {"nominal": coverage} | covered,
        "risk_coverage": risk_coverage(joined, truth),
        "confusion": _confusion(truth, joined.argmax(axis=1), labels),
        "n_units": len(np.unique(units)),
    }
    if len(learned.weights) > 1:
        model = [name for name in learned.weights if name.startswith("model_")]
        views = {name: views[name] for name in learned.weights}
        whole = weigh(views, truth, units, loss="log")
        scores["best"], scores["gain"] = whole.best, asdict(whole.gain)
        scores["gain_of_model"] = asdict(gain_from(model, views, truth, units, loss="log"))
    if BASELINE in found:
        scores["against_logistic"] = compare_macro_f1(truth, joined.argmax(axis=1), found[BASELINE], units, n_classes)
    return scores


def calibrate(learned: Learned, held: HeldOut, truth: np.ndarray) -> SetCalibration:
    """Calibration of disbelief and of strangeness on held-out cells."""
    joined = learned.join({name: held.logs[name] for name in learned.weights})
    return SetCalibration.fit(disbelief(joined), held.strangeness, truth)


def learning_curve(
    cells: CellFeatures,
    truth: np.ndarray,
    n_classes: int,
    units: np.ndarray | None,
    names: Sequence[str] = VIEWS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Macro-F1 on other cells (of other units where there are any) by the number of labels per type.

    Returns
    -------
    list
        One row for each size and repeat: `labels_per_type`, `repeat`, and macro-F1 of `combination` and of logistic
        regression (`genes_logistic`).
    """
    rows = []
    for repeat in range(CURVE_REPEATS):
        rng = np.random.default_rng(repeat)
        folds = make_folds(truth, units, seed=repeat)
        test = np.flatnonzero(folds == repeat % (folds.max() + 1))
        pool = np.setdiff1d(np.arange(len(truth)), test)
        test = test if len(test) <= _CURVE_CELLS else np.sort(rng.choice(test, _CURVE_CELLS, replace=False))
        order = rng.permutation(pool)
        there = cells.take(test)
        for size in CURVE:
            few = np.concatenate([order[truth[order] == k][:size] for k in range(n_classes)])
            if len(few) < n_classes * size / 2:  # most types have fewer labels than that
                continue
            rows.append(
                {"labels_per_type": size, "repeat": repeat}
                | score_few(cells.take(few), truth[few], there, truth[test], n_classes, names)
            )
        progress(repeat + 1, CURVE_REPEATS)
    return rows


def score_few(
    cells: CellFeatures,
    truth: np.ndarray,
    there: CellFeatures,
    wanted: np.ndarray,
    n_classes: int,
    names: Sequence[str] = VIEWS,
) -> dict[str, float]:
    """Macro-F1 of the combination and of logistic regression, learned from few cells."""
    from scfviz.tasks.annotation.scores import macro_f1

    held = hold_out(cells, truth, n_classes, make_folds(truth, None, 3), names)
    learned = learn(cells, truth, n_classes, held, np.arange(len(truth)))
    plain = fit_method(BASELINE, cells, truth, n_classes).log_probabilities(there).argmax(axis=1)
    joined = learned.probabilities(there).argmax(axis=1)
    return {
        "combination": macro_f1(wanted, joined, n_classes),
        BASELINE: macro_f1(wanted, plain, n_classes),
    }


def _confusion(truth: np.ndarray, found: np.ndarray, labels: Sequence[str]) -> dict[str, dict[str, int]]:
    table = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(table, (truth, found), 1)
    return {name: {labels[j]: int(n) for j, n in enumerate(row) if n} for name, row in zip(labels, table, strict=True)}
