"""How well sets of cells are mixed: the local inverse Simpson's index, per cell.

Source: Korsunsky et al. 2019, doi:10.1038/s41592-019-0619-0; scaled as by Luecken et al. 2022,
doi:10.1038/s41592-021-01336-8.
"""

import numpy as np

from scfviz.tasks.mapping.neighbors import NeighborSearch, spread_sample

PERPLEXITY, N_NEIGHBORS = 30.0, 90
FEWEST_CELLS, MOST_CELLS = 10, 2_000  # of a batch in a type
_ROUNDS, _CLOSE = 60, 1e-7


def compute_lisi(distances: np.ndarray, codes: np.ndarray, perplexity: float = PERPLEXITY) -> np.ndarray:
    """Effective number of groups among each cell's neighbours.

    Neighbours weigh by a Gaussian of their distance whose width gives the wanted perplexity.

    Parameters
    ----------
    distances
        (n, k) to the neighbours; the cell itself is none of them.
    codes
        int (n, k): group of each neighbour.
    perplexity
        Effective number of neighbours; a third of `k` where that is smaller.

    Returns
    -------
    np.ndarray
        float64 (n,), 1 (one group) to the number of groups; NaN without neighbours.
    """
    n, k = distances.shape
    if not k:
        return np.full(n, np.nan)
    weights = _weigh(np.asarray(distances, dtype=np.float64), np.log(min(perplexity, max(k / 3, 1.0))))
    simpson = np.zeros(n)
    for group in np.unique(codes):
        simpson += (weights * (codes == group)).sum(axis=1) ** 2
    return 1 / simpson


def mixing_of(
    points: np.ndarray, groups: np.ndarray, *, perplexity: float = PERPLEXITY, n_neighbors: int = N_NEIGHBORS
) -> np.ndarray:
    """The index of each cell among all cells of a space, float64 (n_obs,).

    Parameters
    ----------
    points
        (n_obs, D).
    groups
        (n_obs,), any values.
    """
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    numbers, distances = NeighborSearch(points).nearest(points, n_neighbors, own=np.arange(len(points)))
    return compute_lisi(distances, codes[numbers], perplexity)


def scale_ilisi(median: float, n_batches: int) -> float:
    """The mixing of batches on a scale from 0 (apart) to 1 (as if there were no batches)."""
    return (median - 1) / (n_batches - 1) if n_batches > 1 else float("nan")


def scale_clisi(median: float, n_types: int) -> float:
    """The purity of types on a scale from 0 (mixed) to 1 (each among its own)."""
    return (n_types - median) / (n_types - 1) if n_types > 1 else float("nan")


def score_mixing(points: np.ndarray, batches: np.ndarray, types: np.ndarray) -> dict[str, float | int | None]:
    """Mixing of batches within each type that more than one of them holds, and purity of types; both scaled.

    Within a type as many cells of each batch take part, so that composition does not cap the mixing.

    Parameters
    ----------
    points
        (n_obs, D).
    batches, types
        (n_obs,), any values.

    Returns
    -------
    dict
        `ilisi`: mean of the shared types, each over its own batches; None where no type is shared. `clisi`: None
        where there is one type. `n_shared_types`.
    """
    types, batches = np.asarray(types), np.asarray(batches)
    found = []
    for name in np.unique(types):
        mine = _balanced(points, batches, np.flatnonzero(types == name))
        n_batches = len(np.unique(batches[mine]))
        if n_batches > 1:
            found.append(scale_ilisi(float(np.median(mixing_of(points[mine], batches[mine]))), n_batches))
    n_types = len(np.unique(types))
    purity = float(np.median(mixing_of(points, types))) if n_types > 1 else None
    return {
        "ilisi": float(np.mean(found)) if found else None,
        "clisi": None if purity is None else scale_clisi(purity, n_types),
        "n_shared_types": len(found),
    }


def _balanced(points: np.ndarray, batches: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """As many of the cells from each batch that holds at least ten of them."""
    parts = [cells[batches[cells] == batch] for batch in np.unique(batches[cells])]
    parts = [part for part in parts if len(part) >= FEWEST_CELLS]
    if len(parts) < 2:
        return cells[:0]
    size = min(MOST_CELLS, *map(len, parts))
    return np.concatenate([part[spread_sample(points[part], size)] for part in parts])


def _weigh(distances: np.ndarray, entropy: float) -> np.ndarray:
    """Weights (n, k) that sum to one per cell and have the wanted entropy, found by halving."""
    # squared distances from the nearest: the weights do not change, and nothing underflows
    squares = distances**2
    squares -= squares.min(axis=1, keepdims=True)
    mean = squares.mean(axis=1, keepdims=True)
    squares /= np.where(mean > 0, mean, 1.0)
    precision, low, high = np.ones(len(squares)), np.zeros(len(squares)), np.full(len(squares), np.inf)
    for _ in range(_ROUNDS):
        weights = np.exp(-squares * precision[:, None])
        weights /= weights.sum(axis=1, keepdims=True)
        logs = np.log(np.where(weights > 0, weights, 1.0))
        off = -(weights * logs).sum(axis=1) - entropy
        if np.abs(off).max() < _CLOSE:
            break
        wide = off > 0  # too many neighbours count: narrow
        low, high = np.where(wide, precision, low), np.where(wide, high, precision)
        precision = np.where(np.isfinite(high), (low + high) / 2, precision * 2)
        precision = np.where(precision > 1e12, low, precision)
    return weights
