"""Quantiles of negative binomial counts, fast where counts are small, as most counts of a cell are."""

import numpy as np

_STEPS = 24  # counts up to which the distribution is summed up step by step


def count_quantile(quantile: float, size: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The smallest count that at least a share of the distribution does not exceed, as `scipy.stats.nbinom.ppf`.

    Parameters
    ----------
    quantile
        The share, above 0 and below 1.
    size, mean
        Of the distribution, above zero, the same shape; its variance is mean + mean^2 / size.

    Returns
    -------
    float64 of the same shape, whole numbers.
    """
    from scipy.stats import nbinom

    shape, size, mean = np.shape(size), np.ravel(size), np.ravel(mean)
    found = np.zeros(len(size))
    chance = np.exp(-size * np.log1p(mean / size))  # of no count
    left = np.flatnonzero(chance < quantile)
    chance, sizes = chance[left], size[left]
    below, ratio = chance.copy(), mean[left] / (sizes + mean[left])
    for count in range(1, _STEPS + 1):
        if not len(left):
            break
        chance *= (sizes + (count - 1)) / count * ratio
        below += chance
        is_left = below < quantile
        found[left[~is_left]] = count
        left, sizes, ratio = left[is_left], sizes[is_left], ratio[is_left]
        chance, below = chance[is_left], below[is_left]
    if len(left):
        found[left] = nbinom.ppf(quantile, size[left], size[left] / (size[left] + mean[left]))
    return found.reshape(shape)
