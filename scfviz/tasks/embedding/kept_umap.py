"""UMAP, with what numba compiles for it kept on disk, and less memory for its start; to import this module loads it.

Otherwise every process compiles again: 6 to 10 CPU seconds for the layout, and as many for pynndescent 0.6, which
compiles its distances as soon as it is imported.

The start are eigenvectors of the graph. UMAP looks for them among as many vectors as the root of the cells: 0.7 GB for
200,000. From `MOST_VECTORS` squared cells on there are no more here: the same eigenvectors, in as much time.
"""

from typing import Any

import numba
import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackError, eigsh

MOST_VECTORS = 200

_njit = numba.njit


def _njit_and_keep(*given: Any, **options: Any) -> Any:
    """Of functions that are given with their types, and thus compiled at once."""
    is_compiled_at_once = bool(given) and not callable(given[0])
    return _njit(*given, **({"cache": True} if is_compiled_at_once else {}) | options)


numba.njit = _njit_and_keep
try:
    import pynndescent  # noqa: F401
finally:
    numba.njit = _njit

from umap import layouts, spectral, umap_  # noqa: E402

for _function in {**vars(umap_), **vars(layouts)}.values():
    if hasattr(_function, "enable_caching"):
        _function.enable_caching()

_with_all_vectors = getattr(spectral, "_spectral_layout", None)  # not UMAP's promise: without it all goes its way


def spectral_start(data: Any, graph: sparse.coo_matrix, dim: int, random_state: Any, **options: Any) -> np.ndarray:
    """Eigenvectors of a graph's normalised Laplacian after the first, float64 (n, dim); of few cells and of a graph in
    parts by UMAP's own function, which comes back here for each part.
    """
    n = graph.shape[0]
    if n <= MOST_VECTORS**2 or connected_components(graph, directed=False)[0] > 1:
        return _with_all_vectors(data, graph, dim, random_state, **options)
    random_state.normal(size=(n, dim + 1))  # as UMAP draws, so that all that follows is the same
    scale = sparse.diags(1 / np.sqrt(np.asarray(graph.sum(axis=0)).ravel()))
    laplacian = sparse.identity(n) - scale @ graph @ scale
    try:
        values, vectors = eigsh(
            laplacian, dim + 1, which="SM", ncv=MOST_VECTORS, tol=1e-4, v0=np.ones(n), maxiter=5 * n
        )
    except ArpackError:
        return random_state.uniform(low=-10.0, high=10.0, size=(n, dim))
    return vectors[:, np.argsort(values)[1:]]


if _with_all_vectors is not None:
    spectral._spectral_layout = spectral_start
