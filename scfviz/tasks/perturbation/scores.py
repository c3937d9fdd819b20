"""How predicted changes and answers are judged.

The traps that these avoid: a table of gene frequencies is right about most pairs pooled and knows nothing of a
perturbation; expression itself correlates with anything; a systematic shift makes every prediction correlate.
"""

from collections.abc import Callable

import numpy as np

N_RESAMPLES = 1_000
_LEAST_SIGNAL = 0.1  # of the sampling noise


def auroc_per_gene(truth: np.ndarray, scores: np.ndarray, genes: np.ndarray) -> dict[str, float]:
    """AUROC of each gene over its perturbations; genes of one label only have none.

    Parameters
    ----------
    truth
        (n_pairs,), 0 or 1.
    scores
        (n_pairs,), higher says 1.
    genes
        (n_pairs,), the gene of each pair.
    """
    names, place = np.unique(genes, return_inverse=True)
    order = np.lexsort((scores, place))
    place, values, labels = place[order], np.asarray(scores)[order], np.asarray(truth)[order] > 0
    starts = np.r_[True, (place[1:] != place[:-1]) | (values[1:] != values[:-1])]  # of runs of equal scores of a gene
    run = np.cumsum(starts) - 1
    middle = np.bincount(run, weights=np.arange(len(place))) / np.bincount(run)
    first = np.r_[0, np.cumsum(np.bincount(place))[:-1]]
    ranks = middle[run] - first[place] + 1
    n_ones = np.bincount(place, weights=labels, minlength=len(names))
    n_zeros = np.bincount(place, minlength=len(names)) - n_ones
    above = np.bincount(place, weights=ranks * labels, minlength=len(names)) - n_ones * (n_ones + 1) / 2
    both = np.flatnonzero((n_ones > 0) & (n_zeros > 0))
    return {str(names[i]): float(above[i] / (n_ones[i] * n_zeros[i])) for i in both}


def discrimination(predicted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """How many other measured effects lie nearer to a prediction than its own, on cosine: float64 (n,).

    1 - k / (n - 1), k the other effects that are nearer, ties counting half: 1 is best, and a prediction that is the
    same for all scores 0.5 on average.

    Parameters
    ----------
    predicted, measured
        (n, n_genes), changes against control of the same perturbations.
    """
    n = len(measured)
    if n < 2:
        return np.full(n, np.nan)
    near = _unit(predicted) @ _unit(measured).T
    own = np.diag(near)[:, None]
    others = ~np.eye(n, dtype=bool)
    nearer = ((near > own + 1e-12) & others).sum(axis=1) + 0.5 * ((np.abs(near - own) <= 1e-12) & others).sum(axis=1)
    return 1 - nearer / (n - 1)


def pearson(predicted: np.ndarray, measured: np.ndarray, reference: np.ndarray | float = 0.0) -> np.ndarray:
    """Correlation over genes of changes, each less a reference (zero: the control): float64 (n,), NaN of a constant.

    Parameters
    ----------
    reference
        (n_genes,): for example the mean of the training perturbations, so that what all share counts for nothing.
    """
    a, b = predicted - reference, measured - reference
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(length > 1e-12, (a * b).sum(axis=1) / length, np.nan)


def error_ratio(predicted: np.ndarray, measured: np.ndarray, variance: np.ndarray) -> float:
    """Mean squared error over that of "nothing changes", sampling variance of the measured means taken off both.

    Parameters
    ----------
    variance
        (n, n_genes): sampling variance of the measured changes.

    Returns
    -------
    float
        A ratio of sums: 0 is perfect, 1 is no better than "nothing changes"; NaN where the changes hardly exceed their
        sampling noise.
    """
    noise = float(variance.sum())
    error, nothing = float(((predicted - measured) ** 2).sum()) - noise, float((measured**2).sum()) - noise
    return max(error, 0.0) / nothing if nothing > _LEAST_SIGNAL * noise else float("nan")


def collapse(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Whether a view says the same of everything: number of distinct predictions, and their spread over the truth's."""
    distinct = len(np.unique(np.round(predicted, 6), axis=0))
    spread, truth = predicted.std(axis=0).mean(), measured.std(axis=0).mean()
    return {"n_distinct": float(distinct), "spread": float(spread / truth) if truth > 0 else float("nan")}


def on_scale(value: float, baseline: float, replicate: float) -> float:
    """0 is the simple baseline, 1 a repeat of the experiment; NaN where they are the same."""
    return (value - baseline) / (replicate - baseline) if abs(replicate - baseline) > 1e-12 else float("nan")


def interval(
    values: np.ndarray, statistic: Callable[[np.ndarray], float] = np.nanmean, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of a statistic over units, by resampling them."""
    if len(values) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    drawn = [statistic(values[rng.integers(0, len(values), len(values))]) for _ in range(N_RESAMPLES)]
    return float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
