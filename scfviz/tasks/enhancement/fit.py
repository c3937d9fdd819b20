"""What held-back counts say about the worth of views, and the mean count behind a model's expected expression."""

from collections.abc import Sequence

import numpy as np

from scfviz.data.normalise import COUNTS_PER_CELL
from scfviz.tasks.enhancement.quantiles import count_quantile

TYPICAL = np.log(1e-4)  # share of a gene at which the concentration is quoted
CONCENTRATIONS = (np.log(1e-2), np.log(1e3))
_SMALLEST = 1e-12
_MOST_ENTRIES = 120_000  # of the split cells, a random sample: three exponents need no more


def counts_behind(values: np.ndarray, depth: float) -> np.ndarray:
    """Mean count of a Poisson number whose expected ln(1 + counts per 10,000) is known.

    Parameters
    ----------
    values
        Expected ln(1 + counts per 10,000), any shape; below zero counts as zero.
    depth
        Counts of the cell.

    Returns
    -------
    ndarray
        float64. Up to 60 counts from a table, beyond as if the number were its mean.
    """
    from scipy.stats import poisson

    means = np.concatenate([[0.0], np.geomspace(1e-4, 60.0, 160)])
    numbers = np.arange(160)
    expected = poisson.pmf(numbers, means[:, None]) @ np.log1p(numbers * (COUNTS_PER_CELL / depth))
    beyond = np.expm1(np.minimum(values, 20.0)) * (depth / COUNTS_PER_CELL)
    return np.where(values < expected[-1], np.interp(values, expected, means), np.maximum(beyond, means[-1]))


def more_counts(quantile: float, size: np.ndarray, rate: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Quantile of the counts that more depth would add, given the gamma posterior of the shares; float64 (n, n_genes).

    Parameters
    ----------
    size, rate
        (n, n_genes), see `Enhancer.posterior`.
    depth
        (n,) counts per cell that are added; below zero counts as zero.
    """
    mean = size / rate * np.maximum(depth, 0.0)[:, None]
    return count_quantile(quantile, size, np.maximum(mean, _SMALLEST))


def fit_views(
    views: Sequence[np.ndarray],
    seen: np.ndarray,
    held_back: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Exponents, offset, and both numbers of the concentration that make held-back counts likeliest.

    Held-back counts are negative binomial given the seen ones, exactly as in `Enhancer.enhance`.
    """
    from scipy.optimize import minimize
    from scipy.special import digamma, gammaln

    drawn = rng.choice(seen.size, min(seen.size, _MOST_ENTRIES), replace=False)
    centres = np.array([view.mean() for view in views])  # else exponents and offset would pull at each other
    table = np.stack(
        [*(v.ravel()[drawn] - c for v, c in zip(views, centres, strict=True)), np.ones(len(drawn))], axis=1
    )
    x, x_seen = held_back.ravel()[drawn], seen.ravel()[drawn]
    t, t_seen = (np.repeat(part.sum(axis=1), part.shape[1])[drawn] for part in (held_back, seen))

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        log_share = np.clip(table @ parameters[:-2], -30.0, 0.0)
        r = np.exp(np.clip(parameters[-2] + parameters[-1] * (log_share - TYPICAL), *CONCENTRATIONS))
        size, prior = r + x_seen, r * np.exp(-log_share)
        rate = prior + t_seen
        likelihood = gammaln(x + size) - gammaln(size) + size * np.log(rate / (rate + t)) + x * np.log(t / (rate + t))
        of_rate = (size * t / rate - x) / (rate + t)
        of_log_r = r * (digamma(x + size) - digamma(size) + np.log(rate / (rate + t))) + of_rate * prior
        of_log_share = of_log_r * parameters[-1] - of_rate * prior
        slopes = [table.T @ of_log_share, [of_log_r.sum(), of_log_r @ (log_share - TYPICAL)]]
        return -float(likelihood.mean()), -np.concatenate(slopes) / len(x)

    n = len(views)
    bounds = [(0.0, 2.0)] * n + [(-30.0, 0.0), CONCENTRATIONS, (-1.0, 1.0)]
    exponents = np.full(n, 1 / n)
    found = minimize(
        loss,
        [*exponents, centres @ exponents, 0.0, 0.0],
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": 1e-10, "maxiter": 200},
    ).x
    found[n] -= centres @ found[:n]
    return found
