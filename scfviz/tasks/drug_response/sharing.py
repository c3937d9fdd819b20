"""How errors of a prediction go together over drugs, so that measured drugs of a sample correct the others.

Two estimates of their covariance are mixed: a factor analysis, which is the better where few drugs were measured, and
what completion by alternating least squares finds, which is the better where many were. How finely the latter looks and
what it counts for is chosen on lines that were held out.
"""

from collections.abc import Iterator

import numpy as np

from scfviz.tasks.drug_response.completion import condition, find_factors

SETTINGS = ((30, 8.0), (60, 16.0))  # rank and penalty of completion
SHARES = (0.0, 0.5, 1.0)  # of completion in the covariance
N_ANALYSED, FEWEST, HIDDEN = 30, 5, 10


def learn_sharing(errors: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Factors of errors, (n_drugs, k), and what is each drug's own, (n_drugs,): see `completion.condition`.

    Parameters
    ----------
    errors
        (n_lines, n_drugs): measured less predicted of lines that were held out, NaN where not measured.
    seed
        Of the lines on which the mixture is chosen.
    """
    rng = np.random.default_rng(seed)
    held, rest = np.split(rng.permutation(len(errors)), [len(errors) // 5])
    given = hide_some(errors[held], rng)
    hidden = np.isfinite(errors[held]) & ~np.isfinite(given)
    losses = {}
    for chosen, covariance in _candidates(errors[rest]):
        said, _ = condition(np.zeros(given.shape), given, *covariance)
        losses[chosen] = float((np.where(hidden, errors[held] - said, 0) ** 2).sum())
    best = min(losses, key=losses.__getitem__)
    return next(covariance for chosen, covariance in _candidates(errors) if chosen == best)


def hide_some(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same with some measurements of each line hidden (NaN): from 5 on any number is left, few as often as many."""
    given = np.full(values.shape, np.nan)
    for i, row in enumerate(values):
        known = np.flatnonzero(np.isfinite(row))
        most = len(known) - min(HIDDEN, (len(known) + 1) // 2)
        if most:
            count = int(np.exp(rng.uniform(np.log(min(FEWEST, most)), np.log(most + 1))))
            kept = rng.permutation(known)[: min(count, most)]
            given[i, kept] = row[kept]
    return given


def _candidates(errors: np.ndarray) -> Iterator[tuple[tuple[int, float], tuple[np.ndarray, np.ndarray]]]:
    """Each mixture: number of the setting and share of completion, and its covariance."""
    analysed = analyse_factors(errors)
    for number, (rank, penalty) in enumerate(SETTINGS):
        completed = complete_covariance(errors, rank, penalty)
        for share in SHARES if number == 0 else SHARES[1:]:
            parts = ((share, completed), (1 - share, analysed))
            shared = np.hstack([np.sqrt(weight) * one[0] for weight, one in parts if weight])
            yield (number, share), (shared, sum(weight * one[1] for weight, one in parts))


def complete_covariance(errors: np.ndarray, rank: int, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Factors as completion finds them, (n_drugs, rank + 1) with the line's effect, and own variances, (n_drugs,).

    What is left uncertain of the lines' factors counts in both: a step of expectation maximisation.
    """
    known = np.isfinite(errors)
    rank = min(rank, *errors.shape)
    base, left, right = find_factors(errors, rank, penalty)
    rest = np.where(known, errors - base - left @ right.T, 0)
    own = (rest**2).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    noise, eye = (rest**2).sum() / known.sum(), np.eye(rank)
    grams = (right[row].T @ right[row] for row in known)
    uncertain = noise * np.mean([np.linalg.inv(gram + penalty * eye) for gram in grams], axis=0)
    own += np.einsum("dk,kl,dl->d", right, uncertain, right)
    spread = np.linalg.cholesky(left.T @ left / len(left) + uncertain + 1e-6 * eye)
    line = np.full((errors.shape[1], 1), (base - base.mean(axis=0)).std())
    return np.hstack([right @ spread, line]), np.maximum(own, 1e-6)


def analyse_factors(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factors and own variances by iterated principal factors of the pairwise covariance."""
    known = np.isfinite(errors)
    centred = np.where(known, errors - np.nanmean(errors, axis=0), 0)
    together = known.T.astype(np.float64) @ known
    covariance = centred.T @ centred / np.maximum(together, 1)
    total = np.diag(covariance).copy()
    own = total / 2
    k = min(N_ANALYSED, len(total) - 1)
    for _ in range(10):
        reduced = covariance.copy()
        np.fill_diagonal(reduced, total - own)
        values, vectors = np.linalg.eigh(reduced)
        shared = vectors[:, -k:] * np.sqrt(np.maximum(values[-k:], 0)) if k else np.zeros((len(total), 1))
        own = np.clip(total - (shared**2).sum(axis=1), 0.1 * total, total)
    return shared, own
