"""Genetic interactions: how a pair differs from the sum of its single effects, measured and, where possible, predicted.

The size of an interaction is what is missing to the sum of both single effects, along that sum: -0.3 is a pair that
does 30 % less than the sum. Sampling noise of the single effects, which lies on both sides, is taken off.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scfviz.tasks.perturbation.effects import ScreenEffects

if TYPE_CHECKING:
    import pandas as pd

MIN_PAIRS = 8  # measured pairs from which interactions of others are predicted
SYNERGY, BUFFERING, REDUNDANT, EPISTATIC, NEW = "synergistic", "buffering", "redundant", "epistatic", "neomorphic"
ADDITIVE, UNCLEAR = "additive", "not clear"
TYPES = (SYNERGY, BUFFERING, REDUNDANT, EPISTATIC, NEW, ADDITIVE, UNCLEAR)
MEANINGS = {
    SYNERGY: "the pair does more than the sum",
    BUFFERING: "the pair does less than the sum",
    REDUNDANT: "less than the sum, of two perturbations that do the same",
    EPISTATIC: "less than the sum, and one of the two explains nearly all of it",
    NEW: "the pair does something that neither does alone",
    ADDITIVE: "the sum within 15 %, and certain to be within 30 %",
    UNCLEAR: "the interval allows the sum as well as an interaction",
}
_ALIKE, _ONE_SIDED, _FITS, _NEAR, _SURELY = 0.6, 0.35, 0.5, 0.15, 0.3
_PRIOR = 3.0  # pairs that "the sum, whatever the likeness" counts beside the measured ones
_LEAST_SIGNAL = 0.5  # of a single effect over its noise before it is like or unlike another
_STRONG = 4.0  # signal over noise of a pair before "neither alone" is said


@dataclass(frozen=True)
class InteractionLaw:
    """How the size of an interaction goes with the likeness of both single effects, learned from measured pairs.

    Attributes
    ----------
    level, slope
        Size at likeness 0, and its change with the likeness (cosine).
    spread
        Standard deviation of measured sizes around it, each pair left out in turn.
    correlation
        Pearson's r of predicted and measured sizes of pairs left out, NaN with fewer than three.
    n
        Measured pairs.
    """

    level: float
    slope: float
    spread: float
    correlation: float
    n: int

    @property
    def is_learned(self) -> bool:
        """Whether there were enough pairs."""
        return self.n >= MIN_PAIRS

    def predict(self, likeness: np.ndarray) -> np.ndarray:
        """Size by likeness."""
        return self.level + self.slope * likeness


def measure_interactions(effects: ScreenEffects) -> "pd.DataFrame":
    """Interactions of pairs whose genes were both measured alone too.

    Parameters
    ----------
    effects
        Of a genetic screen.

    Returns
    -------
    DataFrame
        `first`, `second`, `size` with `low` and `high` (95 % by sampling variance), `weight_first`, `weight_second` (of
        the single effects in the best sum), `fit` (r of that sum with the pair), `likeness` (cosine of both single
        effects), `type`, one of `TYPES`.

    Source: the types are after Norman et al. 2019, doi:10.1126/science.aax4438; their limits are our own.
    """
    import pandas as pd

    row_of = {one: i for i, one in enumerate(effects.targets)}
    mask, rows = effects.own_gene(), []
    for pair, i in row_of.items():
        if len(pair) != 2 or any((gene,) not in row_of for gene in pair):
            continue
        places = [row_of[(gene,)] for gene in pair]
        keep = ~(mask[i] | mask[places].any(axis=0))
        singles, noise = effects.change[places][:, keep], effects.variance[places][:, keep]
        rows.append(
            {"first": pair[0], "second": pair[1]}
            | _measure(effects.change[i, keep], singles, effects.variance[i, keep], noise)
        )
    names = ["first", "second", "size", "low", "high", "weight_first", "weight_second", "fit", "likeness", "type"]
    return pd.DataFrame(rows, columns=names)


def _measure(pair: np.ndarray, singles: np.ndarray, variance: np.ndarray, noise: np.ndarray) -> dict[str, float | str]:
    total, of_sum = singles.sum(axis=0), noise.sum(axis=0)
    length = max(float((total**2).sum() - of_sum.sum()), 1e-9)
    size = float(((pair - total) @ total + of_sum.sum()) / length)
    error = float(np.sqrt(((variance + of_sum) * total**2).sum()) / length)
    products = singles @ singles.T
    signal = np.maximum(np.diag(products) - noise.sum(axis=1), 1e-9)
    products[np.diag_indices(2)] = signal
    ridge = 0.05 * signal.mean() * np.eye(2)
    weights = np.linalg.solve(products + ridge, singles @ pair + ridge @ np.ones(2))
    likeness = float(np.clip(products[0, 1] / np.sqrt(signal.prod()), -1, 1))
    fit = _correlation(weights @ singles, pair)
    is_strong = float((pair**2).sum()) > _STRONG * float(variance.sum())
    found = {
        "size": size,
        "low": size - 1.96 * error,
        "high": size + 1.96 * error,
        "weight_first": float(weights[0]),
        "weight_second": float(weights[1]),
        "fit": fit,
        "likeness": likeness,
    }
    return found | {"type": name_type(size, 1.96 * error, weights, likeness, fit if is_strong else 1.0)}


def name_type(size: float, half: float, weights: np.ndarray, likeness: float, fit: float) -> str:
    """The type of an interaction from its size with half its interval, and what the pair is made of."""
    if fit < _FITS:
        return NEW
    if size - half > 0:
        return SYNERGY
    if size + half < 0:
        if likeness > _ALIKE:
            return REDUNDANT
        least, most = np.sort(np.abs(weights))
        return EPISTATIC if least < _ONE_SIDED * most else BUFFERING
    return ADDITIVE if abs(size) < _NEAR and half < _SURELY else UNCLEAR


def learn_law(measured: "pd.DataFrame") -> InteractionLaw:
    """How sizes go with the likeness of single effects; each pair is left out once to see what that is worth.

    Parameters
    ----------
    measured
        From `measure_interactions`.
    """
    x, y = measured["likeness"].to_numpy(dtype=float), measured["size"].to_numpy(dtype=float)
    if len(x) < 3:
        return InteractionLaw(0.0, 0.0, float("nan"), float("nan"), len(x))
    said = np.array([_line(np.delete(x, i), np.delete(y, i)) @ (1, x[i]) for i in range(len(x))])
    level, slope = _line(x, y)
    spread = float(np.sqrt(((said - y) ** 2).mean()))
    return InteractionLaw(float(level), float(slope), spread, _correlation(said, y), len(x))


def predict_interactions(effects: ScreenEffects, law: InteractionLaw, genes: Sequence[str]) -> "pd.DataFrame":
    """All pairs of genes that were measured alone: likeness, predicted size with its 90 % interval, measured ones.

    Returns
    -------
    DataFrame
        `first`, `second`, `likeness` (NaN where either change is hardly above its sampling noise), `predicted`, `low`,
        `high` (NaN there and where nothing was learned), `measured`, `type` (of measured pairs as measured, of others
        by the predicted size).
    """
    import pandas as pd

    row_of = {one: i for i, one in enumerate(effects.targets)}
    rows = [row_of[(gene,)] for gene in genes]
    change = np.where(effects.own_gene()[rows], 0, effects.change[rows])
    noise = np.where(effects.own_gene()[rows], 0, effects.variance[rows]).sum(axis=1)
    signal = (change**2).sum(axis=1) - noise
    signal = np.where(signal > _LEAST_SIGNAL * noise, np.maximum(signal, 1e-9), np.nan)
    likeness = np.clip(change @ change.T / np.sqrt(np.outer(signal, signal)), -1, 1)
    known = measure_interactions(effects)
    measured = {(one.first, one.second): one for one in known.itertuples()}
    first, second = np.triu_indices(len(genes), 1)
    said = law.predict(likeness[first, second]) if law.is_learned else np.full(len(first), np.nan)
    half = 1.645 * law.spread if law.is_learned else np.nan
    found = []
    for a, b, value, near in zip(first, second, said, likeness[first, second], strict=True):
        pair = tuple(sorted((genes[a], genes[b])))
        one = measured.get(pair)
        kind = one.type if one is not None else name_predicted(value, half, near)
        size = np.nan if one is None else one.size
        found.append((*pair, near, value, value - half, value + half, size, kind))
    names = ["first", "second", "likeness", "predicted", "low", "high", "measured", "type"]
    return pd.DataFrame(found, columns=names)


def name_predicted(size: float, half: float, likeness: float) -> str:
    """The type of a pair that was not measured."""
    if not np.isfinite(size):
        return UNCLEAR
    return name_type(size, half, np.ones(2), likeness, 1.0)


def _line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Level and slope, drawn towards none."""
    table = np.stack([np.ones(len(x)), x], axis=1)
    return np.linalg.solve(table.T @ table + _PRIOR * np.diag([0.1, 1.0]) * x.var(), table.T @ y)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < 3 or a.std() < 1e-12 or b.std() < 1e-12:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
