"""How good predictions of drug response are, apart from what averages of tables reach.

Potent drugs are potent in every line, and frail lines are frail against every drug: a correlation over all pairs is won
by averages. So the mean of the drug is taken off first, and what all drugs share in a line is judged by itself.
"""

import numpy as np

N_RESAMPLES = 500
MIN_LINES = 10


def unseen_lines(truth: np.ndarray, expected: np.ndarray, baseline: np.ndarray) -> dict[str, float]:
    """Scores over lines that were held out.

    Parameters
    ----------
    truth
        (n_lines, n_drugs) ln(IC50), NaN where not measured.
    expected
        Predictions.
    baseline
        Mean of the drug over the training lines of each line's fold.

    Returns
    -------
    dict
        `normalised_r`: all pairs, the drug's mean taken off. `general_r`: mean over drugs of each line. `specific_r`:
        what is left. `per_drug_r`: median over drugs of the correlation over lines. `pooled_r`: all pairs, as averages
        reach it; `pooled_r_drug_mean`: those averages.
    """
    known = np.isfinite(truth)
    said, true = np.where(known, expected - baseline, np.nan), np.where(known, truth - baseline, np.nan)
    of_said, of_true = np.nanmean(said, axis=1), np.nanmean(true, axis=1)
    return {
        "normalised_r": correlate(said[known], true[known]),
        "general_r": correlate(of_said, of_true),
        "specific_r": correlate((said - of_said[:, None])[known], (true - of_true[:, None])[known]),
        "per_drug_r": float(np.median(per_drug(truth, expected))),
        "pooled_r": correlate(expected[known], truth[known]),
        "pooled_r_drug_mean": correlate(baseline[known], truth[known]),
    }


class Resampled:
    """Sums of each line, from which correlations over resampled lines follow at once.

    Parameters
    ----------
    truth, expected, baseline
        See `unseen_lines`.
    """

    def __init__(self, truth: np.ndarray, expected: np.ndarray, baseline: np.ndarray):
        known = np.isfinite(truth)
        said, true = np.where(known, expected - baseline, 0), np.where(known, truth - baseline, 0)
        count = np.maximum(known.sum(axis=1, keepdims=True), 1)
        self._sums = {"normalised_r": _sums(said, true, known)}
        parts = (np.where(known, x - x.sum(axis=1, keepdims=True) / count, 0) for x in (said, true))
        self._sums["specific_r"] = _sums(*parts, known)

    def correlation(self, name: str, rows: np.ndarray) -> float:
        """`normalised_r` or `specific_r` over some lines, which may repeat."""
        n, a, b, aa, bb, ab = self._sums[name][rows].sum(axis=0)
        spread = (aa - a * a / n) * (bb - b * b / n)
        return float((ab - a * b / n) / np.sqrt(spread)) if spread > 1e-12 else 0.0


def _sums(a: np.ndarray, b: np.ndarray, known: np.ndarray) -> np.ndarray:
    parts = (known.astype(np.float64), a, b, a * a, b * b, a * b)
    return np.stack([part.sum(axis=1) for part in parts], axis=1)


def per_drug(truth: np.ndarray, expected: np.ndarray) -> list[float]:
    """Correlation over lines of each drug with at least ten of them, 0 of a constant prediction."""
    known = np.isfinite(truth) & np.isfinite(expected)
    return [
        correlate(expected[rows, drug], truth[rows, drug]) if rows.sum() >= MIN_LINES else 0.0
        for drug, rows in enumerate(known.T)
    ]


def residual_r(truth: np.ndarray, expected: np.ndarray, additive: np.ndarray) -> float:
    """Correlation over pairs after the effects of drug and line are taken off the truth.

    Parameters
    ----------
    truth, expected, additive
        (n,): measured, predicted, and the sum of the effects of drug and line that were learned.
    """
    return correlate(expected - additive, truth - additive)


def coverage(truth: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[float, np.ndarray]:
    """Share of measured values inside their intervals, over all and for each drug."""
    known = np.isfinite(truth)
    inside = np.where(known, (truth >= low) & (truth <= high), False)
    return float(inside.sum() / known.sum()), inside.sum(axis=0) / np.maximum(known.sum(axis=0), 1)


def interval_over_lines(found: Resampled, name: str, seed: int = 0) -> tuple[float, float]:
    """95 % interval of `normalised_r` or `specific_r`, by resampling lines."""
    rng, n = np.random.default_rng(seed), len(found._sums[name])
    drawn = [found.correlation(name, rng.integers(0, n, n)) for _ in range(N_RESAMPLES)]
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def correlate(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson correlation; 0 where one is constant."""
    if len(a) < 2 or np.ptp(a) < 1e-12 or np.ptp(b) < 1e-12:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
