"""Tables of responses that are not complete: additive effects, completion, what measured drugs say of others."""

import numpy as np


def two_way(values: np.ndarray, shrink: float = 1.0, n_rounds: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Effects of drugs and lines, float64 (n_drugs,) and (n_lines,): their sums fit what was measured.

    Parameters
    ----------
    values
        (n_lines, n_drugs), NaN where not measured.
    shrink
        As many measurements at zero are added to each line.
    """
    known = np.isfinite(values)
    drug = np.where(known, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    line = np.zeros(len(values))
    for _ in range(n_rounds):
        line = np.where(known, values - drug, 0).sum(axis=1) / (known.sum(axis=1) + shrink)
        drug = np.where(known, values - line[:, None], 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return drug, line


def fill(values: np.ndarray) -> np.ndarray:
    """What was measured, and elsewhere what the rest of the table says, see `complete`."""
    known = np.isfinite(values)
    return values if known.all() else np.where(known, values, complete(values, rank=min(30, *values.shape)))


def complete(values: np.ndarray, rank: int = 30, penalty: float = 4.0, n_rounds: int = 8, seed: int = 0) -> np.ndarray:
    """Every entry of a table from those that were measured: effects of drug and line, and alternating least squares.

    Parameters
    ----------
    values
        (n_lines, n_drugs), NaN where not measured.
    penalty
        On squared factors, in squared units of the table.

    Source: alternating least squares, Zhou et al. 2008, doi:10.1007/978-3-540-68880-8_32.
    """
    base, left, right = find_factors(values, rank, penalty, n_rounds, seed)
    return base + left @ right.T


def find_factors(
    values: np.ndarray, rank: int, penalty: float, n_rounds: int = 8, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Additive effects (n_lines, n_drugs), and beside them factors of lines (n_lines, rank) and drugs (n_drugs, rank).

    Parameters as of `complete`.
    """
    known = np.isfinite(values)
    drug, line = two_way(values)
    base = drug + line[:, None]
    rest = np.where(known, values - base, 0)
    rng = np.random.default_rng(seed)
    left, right = rng.normal(0, 0.1, (len(values), rank)), rng.normal(0, 0.1, (values.shape[1], rank))
    for _ in range(n_rounds):
        left = _solve(rest, known, right, penalty)
        right = _solve(rest.T, known.T, left, penalty)
    return base, left, right


def _solve(rest: np.ndarray, known: np.ndarray, other: np.ndarray, penalty: float) -> np.ndarray:
    """The factors of each row, given those of the columns."""
    products = (other[:, :, None] * other[:, None, :]).reshape(len(other), -1)
    rank = other.shape[1]
    gram = (known.astype(np.float64) @ products).reshape(-1, rank, rank) + penalty * np.eye(rank)
    return np.linalg.solve(gram, (rest @ other)[:, :, None])[:, :, 0]


def condition(
    expected: np.ndarray, measured: np.ndarray, shared: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What measured drugs of samples say of the others.

    Errors of a prediction go together over drugs: factors `shared` hold how. Where a sample responds to some drugs more
    than was expected, it will to the drugs whose errors go with them.

    Parameters
    ----------
    expected
        (n, n_drugs): predicted from expression.
    measured
        (n, n_drugs): ln(IC50 in uM), NaN where not measured.
    shared, own
        (n_drugs, k) and (n_drugs,): covariance of errors is shared @ shared.T + diag(own).

    Returns
    -------
    tuple
        Expected values (n, n_drugs), those measured as they are; and the share of the standard deviation of the error
        that is left, (n, n_drugs), 0 where measured.
    """
    found, left = expected.astype(np.float64).copy(), np.ones(expected.shape)
    total = (shared**2).sum(axis=1) + own
    for row in range(len(expected)):
        known = np.isfinite(measured[row])
        if not known.any():
            continue
        inverse = 1 / own[known]
        part = shared[known]
        middle = np.linalg.inv(np.eye(shared.shape[1]) + part.T @ (part * inverse[:, None]))
        factors = middle @ (part.T @ (inverse * (measured[row, known] - expected[row, known])))
        variance = ((shared @ middle) * shared).sum(axis=1) + own
        found[row] += shared @ factors
        left[row] = np.sqrt(np.minimum(variance / total, 1))
        found[row, known], left[row, known] = measured[row, known], 0
    return found, left
