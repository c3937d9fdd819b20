"""Regression of responses on scores of lines: the part that all drugs share, and the part of each drug, apart."""

from dataclasses import dataclass

import numpy as np

from scfviz.tasks.drug_response.completion import fill

PENALTIES = (0.2, 0.4, 0.7, 1.0, 1.5, 2.5)  # times the number of genes: the mean square of a gene's direction
N_INNER = 5


@dataclass(frozen=True)
class Regression:
    """What scores say of responses.

    Attributes
    ----------
    general
        float64 (k,): weights of the sensitivity that drugs have in common, in ln(uM) of the mean drug.
    specific
        float64 (k, n_drugs): weights of what is left for each drug; they sum to zero over drugs.
    drug_mean
        float64 (n_drugs,): of the training lines, those that were not measured filled in by additive effects.
    penalties
        Of the two, as chosen over inner folds.
    """

    general: np.ndarray
    specific: np.ndarray
    drug_mean: np.ndarray
    penalties: tuple[float, float]

    def predict(self, scores: np.ndarray) -> np.ndarray:
        """Expected ln(IC50), float64 (n, n_drugs)."""
        return self.drug_mean + (scores @ self.general)[:, None] + scores @ self.specific


def fit_regression(
    scores: np.ndarray, responses: np.ndarray, n_genes: int, *, penalties: tuple[float, float] | None = None
) -> Regression:
    """Ridge regression on scores of lines, equal to kernel ridge with a linear kernel on the genes.

    Parameters
    ----------
    scores
        (n_lines, k), orthogonal columns.
    responses
        (n_lines, n_drugs) ln(IC50), NaN where not measured.
    n_genes
        The unit of the penalties.
    penalties
        Of the general and the specific part; chosen over inner folds of the lines when left out.
    """
    chosen = _choose(scores, responses, n_genes) if penalties is None else penalties
    return _Problem(scores, responses, n_genes).solve(chosen)


class _Problem:
    """Scores and responses of some lines, ready for any penalty."""

    def __init__(self, scores: np.ndarray, responses: np.ndarray, n_genes: int):
        filled = fill(responses)
        self.mean, self.centre, self.n_genes = filled.mean(axis=0), scores.mean(axis=0), n_genes
        general = (filled - self.mean).mean(axis=1)
        moved = scores - self.centre
        self.gram = moved.T @ moved
        self.general = moved.T @ general
        self.specific = moved.T @ (filled - self.mean - general[:, None])

    def solve(self, penalties: tuple[float, float]) -> Regression:
        eye = np.eye(len(self.gram)) * self.n_genes
        one = np.linalg.solve(self.gram + penalties[0] * eye, self.general)
        each = np.linalg.solve(self.gram + penalties[1] * eye, self.specific)
        return Regression(one, each, self.mean - (self.centre @ one) - self.centre @ each, penalties)


def _choose(scores: np.ndarray, responses: np.ndarray, n_genes: int) -> tuple[float, float]:
    """The penalties with the least error over inner folds, each part by itself."""
    n = len(scores)
    errors = np.zeros((2, len(PENALTIES)))
    for held in np.array_split(np.random.default_rng(0).permutation(n), N_INNER):
        rest = np.setdiff1d(np.arange(n), held)
        problem, truth = _Problem(scores[rest], responses[rest], n_genes), responses[held]
        known = np.isfinite(truth)
        for i, penalty in enumerate(PENALTIES):
            model = problem.solve((penalty, penalty))
            off = np.where(known, truth - model.drug_mean, 0)
            of_line = off.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
            errors[0, i] += float(((of_line - scores[held] @ model.general) ** 2).sum())
            rest_of = np.where(known, off - of_line[:, None] - scores[held] @ model.specific, 0)
            errors[1, i] += float((rest_of**2).sum())
    return PENALTIES[int(errors[0].argmin())], PENALTIES[int(errors[1].argmin())]
