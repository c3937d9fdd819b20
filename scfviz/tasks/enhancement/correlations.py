"""Correlation of each gene across cells with held-back counts, resampled over cells, and the depth that it is worth."""

from collections.abc import Hashable

import numpy as np

N_RESAMPLED = 100
ENDS = (5.0, 95.0)  # percentiles of the resampled values that an interval lies between
MOST_FOLD = 20.0  # the curve of raw counts says nothing beyond
_BLOCK = 1_000


class Correlations:
    """Pearson correlations of genes across cells, between what was predicted and what was held back.

    The first row of every result is of the cells themselves, the others of cells drawn again with replacement; the
    same draws serve all methods, so that differences are paired.

    Parameters
    ----------
    truth
        (n_cells, n_genes), held-back values.
    counted
        bool (n_genes,): genes that medians are over.
    """

    def __init__(self, truth: np.ndarray, counted: np.ndarray, *, seed: int = 0):
        rng, n = np.random.default_rng((seed, 2)), len(truth)
        draws = rng.multinomial(n, np.full(n, 1 / n), N_RESAMPLED)
        self._weights = np.vstack([np.ones(n), draws]) / n
        self._truth, self._counted = truth, counted
        self.values: dict[Hashable, np.ndarray] = {}

    def add(self, name: Hashable, guess: np.ndarray) -> None:
        """Compare predicted values (n_cells, n_genes); a gene that is the same in every cell has correlation 0."""
        found = np.empty((len(self._weights), guess.shape[1]), np.float32)
        for start in range(0, guess.shape[1], _BLOCK):
            block = slice(start, start + _BLOCK)
            one, other = guess[:, block].astype(np.float64), self._truth[:, block].astype(np.float64)
            one, other = one - one.mean(axis=0), other - other.mean(axis=0)
            means = [self._weights @ part for part in (one, other, one * other, one**2, other**2)]
            covariance = means[2] - means[0] * means[1]
            spread = np.maximum(means[3] - means[0] ** 2, 0) * np.maximum(means[4] - means[1] ** 2, 0)
            is_varying = spread > 1e-20
            found[:, block] = np.where(is_varying, covariance / np.sqrt(np.where(is_varying, spread, 1.0)), 0.0)
        self.values[name] = found

    def of_genes(self, name: Hashable) -> np.ndarray:
        """(n_genes,) correlation of each gene."""
        return self.values[name][0]

    def median(self, name: Hashable) -> np.ndarray:
        """(1 + n_resampled,) median over the genes."""
        return np.median(self.values[name][:, self._counted], axis=1)

    def gain(self, name: Hashable, other: Hashable) -> np.ndarray:
        """(1 + n_resampled,) median over the genes of what one method is ahead of the other."""
        return np.median((self.values[name] - self.values[other])[:, self._counted], axis=1)

    def gain_of_genes(self, name: Hashable, other: Hashable) -> tuple[np.ndarray, np.ndarray]:
        """(n_genes,) what one method is ahead of the other, and the standard error of that."""
        ahead = self.values[name] - self.values[other]
        return ahead[0], ahead[1:].std(axis=0)


def interval(resampled: np.ndarray) -> tuple[float, float, float]:
    """Value, low and high end of a number whose first entry is the value, the others its resampled ones.

    Cells that are drawn twice lower every correlation a little, so only the spread of the resampled values is taken.
    """
    ends = np.percentile(resampled[1:], ENDS) - np.median(resampled[1:])
    return float(resampled[0]), *(float(resampled[0] + end) for end in ends)


def fit_depth_curve(shares: np.ndarray, correlations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit r^2 = A f / (f + c), how the correlation of raw counts grows with the share f of the depth.

    It is the law of the reliability of a measurement that is repeated f times (Spearman and Brown), where the noise
    of counts falls with the depth and the noise of what they are compared with stays.

    Parameters
    ----------
    shares
        (n,), 1 for all counts.
    correlations
        (m, n), each row is fitted by itself.

    Returns
    -------
    tuple
        A, at most 1, and c, each float64 (m,).
    """
    squares = np.sign(correlations) * correlations**2
    halves = np.geomspace(1e-2, 1e3, 120)
    shape = shares / (shares + halves[:, None])
    ceilings = np.clip(squares @ (shape / (shape**2).sum(axis=1, keepdims=True)).T, 1e-9, 1.0)
    errors = ((squares[:, None, :] - ceilings[:, :, None] * shape) ** 2).sum(axis=2)
    best = errors.argmin(axis=1)
    return ceilings[np.arange(len(best)), best], halves[best]


def fold_at(correlations: np.ndarray, ceilings: np.ndarray, halves: np.ndarray) -> np.ndarray:
    """Share of the depth at which raw counts have these correlations; from 0 to 20, where the curve ends."""
    squares = np.sign(correlations) * correlations**2
    left = np.maximum(ceilings - squares, 1e-12)
    return np.clip(halves * squares / left, 1e-3, MOST_FOLD)
