"""How good labels are: each number with the truth it needs, over the types that the truth holds."""

from collections.abc import Callable

import numpy as np

N_BINS = 15
N_RESAMPLES = 200


def macro_f1(truth: np.ndarray, found: np.ndarray, n_classes: int) -> float:
    """Mean F1 over the types that the truth holds; a stray label of another type adds no zero.

    Parameters
    ----------
    truth, found
        int (n,); -1 among `found` is no label.
    """
    return _macro_f1_of(_confusion(truth, found, n_classes)[None])[0]


def calibration_error(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Expected calibration error of the likeliest type: 15 bins of equal mass, 0 to 1.

    Source: Nguyen & O'Connor 2015, doi:10.18653/v1/D15-1182 (bins of equal mass).
    """
    confidence, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(N_BINS, len(order)))
    return float(sum(len(part) * abs(confidence[part].mean() - is_right[part].mean()) for part in parts) / len(order))


def auroc(scores: np.ndarray, is_positive: np.ndarray) -> float | None:
    """Chance that a positive scores higher than a negative, ties half; None where one side is empty."""
    from scipy.stats import rankdata

    n_pos, n_neg = int(is_positive.sum()), int((~is_positive).sum())
    if not n_pos or not n_neg:
        return None
    ranks = rankdata(scores)
    return float((ranks[is_positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def score_labels(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """`macro_f1`, `accuracy`, `log_loss`, `ece` and `brier` of probabilities (n, K) under int labels (n,)."""
    own, found = np.arange(len(truth)), probabilities.argmax(axis=1)
    right = np.zeros_like(probabilities)
    right[own, truth] = 1.0
    return {
        "macro_f1": macro_f1(truth, found, probabilities.shape[1]),
        "accuracy": float((found == truth).mean()),
        "log_loss": float(-np.log(np.maximum(probabilities[own, truth], 1e-15)).mean()),
        "ece": calibration_error(probabilities, truth),
        "brier": float(((probabilities - right) ** 2).sum(axis=1).mean()),
    }


def compare_macro_f1(
    truth: np.ndarray, one: np.ndarray, other: np.ndarray, units: np.ndarray, n_classes: int, seed: int = 0
) -> dict[str, float]:
    """How much better `one` labels than `other`: `difference` in macro-F1 with a 95 % interval `low` to `high`.

    The interval is a paired bootstrap over units (donors where they are known, else cells).
    """
    _names, units = np.unique(units, return_inverse=True)
    n_units = units.max() + 1
    draw = np.random.default_rng(seed)

    def tables(found: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        if n_units <= 200:
            each = np.stack([_confusion(truth[units == u], found[units == u], n_classes) for u in range(n_units)])
            return lambda weights: np.tensordot(weights, each, axes=1)
        return lambda weights: np.stack([_confusion(truth, found, n_classes, row[units]) for row in weights])

    weights = draw.multinomial(n_units, np.full(n_units, 1 / n_units), size=N_RESAMPLES).astype(np.float64)
    spread = _macro_f1_of(tables(one)(weights)) - _macro_f1_of(tables(other)(weights))
    low, high = np.nanquantile(spread, [0.025, 0.975])
    difference = macro_f1(truth, one, n_classes) - macro_f1(truth, other, n_classes)
    return {"difference": difference, "low": float(low), "high": float(high)}


def expected_errors(confidence: np.ndarray) -> np.ndarray:
    """float64 (n + 1,): errors to expect among the n most certain cells, for n from 0 on."""
    return np.concatenate([[0.0], np.cumsum(1.0 - np.sort(np.asarray(confidence, np.float64))[::-1])])


def risk_coverage(probabilities: np.ndarray, truth: np.ndarray, n_points: int = 40) -> list[dict[str, float]]:
    """How many labels are wrong where only the most certain cells are labelled.

    Returns
    -------
    list
        By share of the cells: `coverage`, `risk` (share of wrong labels among these) and `confidence` (the least of
        them). Cells of equal confidence are labelled together.

    Source: El-Yaniv & Wiener 2010, On the foundations of noise-free selective classification.
    """
    confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != truth
    order = np.argsort(-confidence, kind="stable")
    sure, n_obs = confidence[order], len(order)
    risk = np.cumsum(wrong[order]) / np.arange(1, n_obs + 1)
    ends = np.flatnonzero(np.append(sure[:-1] > sure[1:], True))
    wanted = np.unique(np.searchsorted(ends, np.linspace(0, n_obs - 1, n_points).round().astype(int)))
    return [
        {"coverage": float((end + 1) / n_obs), "risk": float(risk[end]), "confidence": float(sure[end])}
        for end in ends[wanted]
    ]


def _confusion(truth: np.ndarray, found: np.ndarray, n_classes: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Truth x found, float64 (K, K + 1); the last column is no label."""
    place = truth * (n_classes + 1) + np.where(found < 0, n_classes, found)
    return np.bincount(place, weights, n_classes * (n_classes + 1)).reshape(n_classes, n_classes + 1).astype(np.float64)


def _macro_f1_of(tables: np.ndarray) -> np.ndarray:
    """(B,) from (B, K, K + 1)."""
    there = tables.sum(axis=2)
    right = np.diagonal(tables[:, :, :-1], axis1=1, axis2=2)
    f1 = 2 * right / np.maximum(there + tables[:, :, :-1].sum(axis=1), 1e-12)
    return (f1 * (there > 0)).sum(axis=1) / np.maximum((there > 0).sum(axis=1), 1)
