"""A drug that was not measured: what drugs of like structure say of it, and how little that often is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scfviz.tasks.drug_response.scores import correlate

if TYPE_CHECKING:
    from scfviz.tasks.drug_response.tables import Drug

POWERS, SHRINKS, PENALTIES = (1.0, 2.0, 4.0), (0.05, 0.2, 1.0), (0.1, 0.3, 1.0)
BINS = (0.0, 0.3, 0.5, 1.01)  # of the similarity to the nearest drug
_GRID = np.linspace(0, 1, 101)
N_RESAMPLES = 1_000


@dataclass(frozen=True)
class UnseenRule:
    """How drugs of like structure are weighed, and what that was worth for drugs that were left out.

    Attributes
    ----------
    power, shrink
        Weight of a drug: its similarity to this power; the sum of all is made larger by `shrink`.
    penalty
        Of the regression of the mean ln(IC50) on similarities.
    errors
        float64 (3, 101): quantiles of measured less predicted, by similarity to the nearest drug (`BINS`).
    scores
        `partial_r` with `partial_low` and `partial_high` (95 % over drugs): median over left-out drugs of the
        correlation over lines after the line's general sensitivity is taken off; the same by `BINS`; `potency_r`.
    """

    power: float
    shrink: float
    penalty: float
    errors: np.ndarray
    scores: Mapping[str, object]

    def weights(self, near: np.ndarray) -> np.ndarray:
        """What known drugs count for the specific part, (..., n_drugs), from their similarities."""
        raised = near**self.power
        return raised / (raised.sum(axis=-1, keepdims=True) + self.shrink)

    def of_bin(self, nearest: float) -> tuple[int, float] | None:
        """Left-out drugs whose nearest drug was about as similar: their number and median r; None without any."""
        found = list(self.scores["by_similarity"].values())[_bin(nearest)]
        return None if found[1] is None else (int(found[0]), float(found[1]))

    def interval(self, nearest: float) -> np.ndarray:
        """float64 (101,): quantiles of the error at a similarity to the nearest drug."""
        return self.errors[_bin(nearest)]


def _bin(nearest: float) -> int:
    return int(np.clip(np.searchsorted(BINS, nearest, side="right") - 1, 0, len(BINS) - 2))


def potency_of(near: np.ndarray, known: np.ndarray, means: np.ndarray, penalty: float) -> np.ndarray:
    """Mean ln(IC50) of drugs by kernel ridge regression on similarities.

    Parameters
    ----------
    near
        (n, n_known): similarities to the known drugs.
    known
        (n_known, n_known): among themselves.
    means
        (n_known,).
    """
    centre = means.mean()
    return centre + near @ np.linalg.solve(known + penalty * np.eye(len(known)), means - centre)


def similarities(drugs: "tuple[Drug, ...]") -> tuple[np.ndarray, np.ndarray]:
    """Which drugs have a structure, int (k,), and the similarities of those, float64 (k, k)."""
    from scfviz.tasks.drug_response.chemistry import fingerprints, similarity

    bits = fingerprints([drug.smiles for drug in drugs])
    rows = np.flatnonzero(bits.any(axis=1))
    return rows, np.array([similarity(bits[i], bits[rows]) for i in rows]).reshape(len(rows), len(rows))


def fit_unseen(
    drugs: "tuple[Drug, ...]",
    means: np.ndarray,
    expected: np.ndarray,
    truth: np.ndarray,
    seed: int = 0,
    *,
    apart: np.ndarray | None = None,
) -> UnseenRule | None:
    """Learn over left-out drugs how drugs of like structure are best weighed; None with fewer than ten structures.

    Left out are a drug and all that share its structure; lines are those that were held out, so that both are unseen.

    Parameters
    ----------
    means
        (n_drugs,): mean ln(IC50) over lines.
    expected
        (n_lines, n_drugs): predictions of held-out lines for the drugs themselves.
    truth
        (n_lines, n_drugs), NaN where not measured.
    apart
        bool (n_drugs, n_drugs): drugs that are left out together, too, for example those of one scaffold.
    """
    rows, near = similarities(drugs)
    if len(rows) < 10:
        return None
    hidden = near > 0.99  # the drug itself, salts and isomers of it
    hidden |= False if apart is None else apart[np.ix_(rows, rows)]
    expected, truth, means = expected[:, rows], truth[:, rows], means[rows]
    general = (expected - means).mean(axis=1)
    specific = expected - means - general[:, None]
    rest = truth - general[:, None]
    best, found = -np.inf, (POWERS[0], SHRINKS[0])
    rng = np.random.default_rng(seed)
    tuning, testing = np.array_split(rng.permutation(len(rows)), 2)
    for power in POWERS:
        said = specific @ _hidden_weights(near, hidden, UnseenRule(power, 1.0, 0, np.empty(0), {})).T
        value = _median_r(said, rest, tuning)
        best, found = (value, (power, 1.0)) if value > best else (best, found)
    power = found[0]
    said = {s: specific @ _hidden_weights(near, hidden, UnseenRule(power, s, 0, np.empty(0), {})).T for s in SHRINKS}
    shrink = min(SHRINKS, key=lambda s: float(np.nanmean((rest - np.nanmean(rest, axis=0) - said[s])[:, tuning] ** 2)))
    potency = {p: _leave_out(near, hidden, means, p) for p in PENALTIES}
    penalty = min(PENALTIES, key=lambda p: float(np.mean((potency[p] - means)[tuning] ** 2)))
    error = rest - potency[penalty] - said[shrink]
    nearest = np.where(hidden, 0, near).max(axis=1)
    errors = []
    for low, high in zip(BINS[:-1], BINS[1:], strict=True):
        inside = (nearest >= low) & (nearest < high)
        inside = inside if inside.sum() >= 10 else np.ones(len(nearest), dtype=bool)
        errors.append(np.nanquantile(error[:, inside], _GRID))
    each = np.array([_r(said[shrink][:, j], rest[:, j]) for j in range(len(rows))])
    scores = {
        "n_drugs": len(testing),
        "partial_r": float(np.median(each[testing])),
        **dict(zip(("partial_low", "partial_high"), _interval(each[testing], seed), strict=True)),
        "potency_r": correlate(potency[penalty][testing], means[testing]),
        "by_similarity": {
            f"{low:.1f} to {min(high, 1):.1f}": [
                int(inside.sum()),
                float(np.median(each[inside])) if inside.any() else None,
            ]
            for low, high in zip(BINS[:-1], BINS[1:], strict=True)
            for inside in [(nearest >= low) & (nearest < high)]
        },
    }
    return UnseenRule(power, shrink, penalty, np.array(errors), scores)


def _hidden_weights(near: np.ndarray, hidden: np.ndarray, rule: UnseenRule) -> np.ndarray:
    return rule.weights(np.where(hidden, 0, near))


def _leave_out(near: np.ndarray, hidden: np.ndarray, means: np.ndarray, penalty: float) -> np.ndarray:
    found = np.empty(len(means))
    for i in range(len(means)):
        kept = np.flatnonzero(~hidden[i])
        found[i] = potency_of(near[i, kept], near[np.ix_(kept, kept)], means[kept], penalty)
    return found


def _r(said: np.ndarray, true: np.ndarray) -> float:
    known = np.isfinite(true)
    return correlate(said[known], true[known])


def _median_r(said: np.ndarray, rest: np.ndarray, columns: np.ndarray) -> float:
    return float(np.median([_r(said[:, j], rest[:, j]) for j in columns]))


def _interval(values: np.ndarray, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    drawn = [np.median(values[rng.integers(0, len(values), len(values))]) for _ in range(N_RESAMPLES)]
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))
