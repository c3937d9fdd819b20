"""Neighbours balanced over batches, as BBKNN takes them: a graph that stands beside the corrections, which move cells.

Each cell gets as many neighbours from every batch, so that batches are mixed by construction and their mixing says
nothing; what it costs is seen in the purity of types among these neighbours.

Source: Polanski et al. 2020, doi:10.1093/bioinformatics/btz625.
"""

import numpy as np

from scfviz.tasks.mapping.lisi import N_NEIGHBORS, compute_lisi, scale_clisi
from scfviz.tasks.mapping.neighbors import NeighborSearch

TITLE, STAGE, SPACE = "Neighbours balanced over batches (after BBKNN)", "mixed by construction", "graph"
WITHIN_BATCH = 3  # BBKNN's own number of neighbours in each batch


def balanced_neighbors(
    points: np.ndarray, batches: np.ndarray, within_batch: int = WITHIN_BATCH
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest other cells of every batch.

    Parameters
    ----------
    points
        (n_obs, D), not corrected.
    batches
        (n_obs,), any values.
    within_batch
        Neighbours in each batch; fewer where a batch has fewer other cells.

    Returns
    -------
    tuple
        int64 (n_obs, k) cells, nearest first, and float64 (n_obs, k) distances.
    """
    names, codes = np.unique(np.asarray(batches).astype(str), return_inverse=True)
    within_batch = min(within_batch, int(np.bincount(codes).min()) - 1)
    numbers, distances = [], []
    for code in range(len(names)):
        members = np.flatnonzero(codes == code)
        own = np.full(len(points), -1)
        own[members] = np.arange(len(members))
        found, far = NeighborSearch(points[members]).nearest(points, within_batch, own=own)
        numbers.append(members[found])
        distances.append(far)
    numbers, distances = np.hstack(numbers), np.hstack(distances)
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(numbers, order, axis=1), np.take_along_axis(distances, order, axis=1)


def balanced_purity(points: np.ndarray, batches: np.ndarray, types: np.ndarray) -> float | None:
    """Purity of types (cLISI, 0 to 1) among 90 neighbours that all batches share alike; None where there is one type.

    It cannot be compared with that of a space to the last digit: a space's nearest neighbours may all be of one batch.
    """
    names, codes = np.unique(np.asarray(types).astype(str), return_inverse=True)
    if len(names) < 2:
        return None
    n_batches = len(np.unique(np.asarray(batches).astype(str)))
    numbers, distances = balanced_neighbors(points, batches, max(N_NEIGHBORS // n_batches, WITHIN_BATCH))
    return scale_clisi(float(np.median(compute_lisi(distances, codes[numbers]))), len(names))
