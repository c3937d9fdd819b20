"""Factors of expression: what genes of lines have in common, read also from a table with only some of the genes."""

from dataclasses import dataclass

import numpy as np

N_FACTORS = 300


@dataclass(frozen=True)
class Factors:
    """A probabilistic principal component model of lines.

    Attributes
    ----------
    mean, spread
        float32 (n_genes,): of each gene over lines.
    loadings
        float32 (n_genes, k): orthogonal columns of length one.
    variance
        float64 (k,): of the scores over lines.
    noise
        Variance of a gene that the factors do not explain, in squared standard deviations of the gene.
    """

    mean: np.ndarray
    spread: np.ndarray
    loadings: np.ndarray
    variance: np.ndarray
    noise: float

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """Expression of lines, less the mean of each gene, in its standard deviations."""
        return (values - self.mean) / self.spread

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Scores of samples: float64 (n, k).

        With all genes that is the projection; genes that were not measured are filled in by what the factors expect of
        them from the others, which draws the scores towards the mean.

        Parameters
        ----------
        values
            (n, n_genes), standardised, NaN where not measured; the same genes in all rows.

        Source: Tipping and Bishop 1999, doi:10.1111/1467-9868.00196.
        """
        measured = np.isfinite(values[0])
        loadings = self.loadings[measured].astype(np.float64)
        projected = values[:, measured].astype(np.float64) @ loadings
        if measured.all():
            return projected
        prior = self.noise / np.maximum(self.variance - self.noise, 1e-6)
        return np.linalg.solve(loadings.T @ loadings + np.diag(prior), projected.T).T

    def distance(self, values: np.ndarray) -> np.ndarray:
        """How unlike the lines samples are, float64 (n,): mean square of what the factors do not explain of a gene,
        over the noise, and of the scores over their variances, averaged. Near 1 for a line.
        """
        measured = np.isfinite(values[0])
        scores = self.scores(values)
        rest = values[:, measured] - scores @ self.loadings[measured].T.astype(np.float64)
        outside = (rest**2).mean(axis=1) / self.noise
        leading = min(50, len(self.variance))
        inside = (scores[:, :leading] ** 2 / self.variance[:leading]).mean(axis=1)
        return (outside + inside) / 2


def fit_factors(values: np.ndarray, n_factors: int = N_FACTORS) -> tuple[Factors, np.ndarray]:
    """Factors of lines and their scores, float64 (n, k).

    Parameters
    ----------
    values
        (n_lines, n_genes) on the training scale, none missing.
    """
    mean, spread = values.mean(axis=0), values.std(axis=0) + 1e-3
    standard = ((values - mean) / spread).astype(np.float32)
    eigenvalues, vectors = np.linalg.eigh((standard @ standard.T).astype(np.float64))
    k = int(min(n_factors, len(values) - 2, values.shape[1] - 1))
    order = np.argsort(-eigenvalues)[:k]
    length = np.sqrt(np.maximum(eigenvalues[order], 1e-9))
    loadings = standard.T @ (vectors[:, order] / length).astype(np.float32)
    n, n_genes = standard.shape
    left = max(float(eigenvalues.sum() - eigenvalues[order].sum()), 1e-9)
    # few lines span few directions: what they leave is spread over all the genes
    noise = max(left / n / max(n_genes - k, 1), 1e-3)
    model = Factors(mean.astype(np.float32), spread.astype(np.float32), loadings, length**2 / n, noise)
    return model, vectors[:, order] * length
