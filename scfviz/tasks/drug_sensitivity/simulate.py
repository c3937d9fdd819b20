"""Cells as bulk lines would look at a given read depth: what calibration is learned from.

A bulk profile says how a line differs from other lines; a single cell shows a few thousand counts of it. Pseudo-cells
are drawn from the line's expected counts, so that probabilities know how little a shallow cell says.
"""

from dataclasses import dataclass

import numpy as np

from scfviz.data.normalise import log_values

SLOPE = 1.5  # ln(TPM) for one z-score of the array: median over 328 genes and 503 lines measured both ways
DEPTHS = (200.0, 600.0, 2_000.0, 6_000.0, 20_000.0, 200_000.0)  # counts on the predictor's genes
_ROWS = 256


@dataclass(frozen=True)
class GeneRates:
    """What lines express, as shares of the counts.

    Attributes
    ----------
    log_mean
        float64 (n_genes,): ln of the expected share of the counts, its exponentials sum to 1.
    deviation
        float64 (n_lines, n_genes): difference of each line from the mean of lines, in ln.
    """

    log_mean: np.ndarray
    deviation: np.ndarray

    def shares(self, rows: np.ndarray) -> np.ndarray:
        """Expected share of the counts of each gene, float64 (len(rows), n_genes); rows sum to 1."""
        logs = self.log_mean + self.deviation[rows]
        found = np.exp(logs - logs.max(axis=1, keepdims=True))
        return found / found.sum(axis=1, keepdims=True)


def rates_of(values: np.ndarray, mean_shares: np.ndarray) -> GeneRates:
    """Rates from array values of lines.

    Parameters
    ----------
    values
        (n_lines, n_genes), z-scores of array log-intensity within the line.
    mean_shares
        (n_genes,), how much each gene is counted in cells on average, any unit; 0 where it was never seen.
    """
    shares = mean_shares / mean_shares.sum()
    floor = 0.1 * np.median(shares[shares > 0])
    log_mean = np.log(shares + floor)
    log_mean -= np.log(np.exp(log_mean).sum())
    values = values.astype(np.float64)
    return GeneRates(log_mean, SLOPE * (values - values.mean(axis=0)))


def draw_cells(rates: GeneRates, rows: np.ndarray, depth: float, seed: int) -> np.ndarray:
    """Pseudo-cells: ln(1 + counts per 10,000) of Poisson counts.

    Parameters
    ----------
    rows
        int (n,), the line of each.
    depth
        Expected counts.

    Returns
    -------
    float32 (n, n_genes)
    """
    rng = np.random.default_rng(seed)
    found = np.empty((len(rows), len(rates.log_mean)), dtype=np.float32)
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        counts = rng.poisson(depth * rates.shares(part)).astype(np.float32)
        totals = np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
        found[start : start + _ROWS] = log_values(counts, totals)
    return found
