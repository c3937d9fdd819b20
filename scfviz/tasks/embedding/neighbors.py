"""The nearest neighbours that a map starts from, without what scanpy keeps for questions that nobody asks."""

from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from scfviz.tasks.embedding.sampled import MOST_EXACT

MOST_PARTS_BY_RULE = 4  # parts of a graph that UMAP starts at fixed places; of more it asks the points
WEAKEST = 1 / 200  # of the largest weight, at most what UMAP leaves out


def neighbor_search(n_obs: int, n_neighbors: int, seed: int) -> Any:
    """What `scanpy.pp.neighbors` searches with: its own choice, to the bit.

    Up to 8,192 cells None, and scanpy compares all with all. Above, pynndescent with scanpy's settings, but the index
    goes as soon as the neighbours are found: scanpy makes it ready for further questions, which takes a second copy of
    the points, as much memory again for what numba compiles, and 10 to 30 seconds of that.
    """
    if n_obs < MOST_EXACT:
        return None
    from pynndescent import PyNNDescentTransformer

    class Search(PyNNDescentTransformer):
        def fit_transform(self, X: np.ndarray, y: None = None, **_: Any) -> sparse.csr_matrix:
            found = self.fit(X, compress_index=False).transform(None)
            del self.index_
            return found

    return Search(
        n_neighbors=n_neighbors,
        n_trees=min(64, 5 + round(n_obs**0.5 / 20)),
        n_iters=max(5, round(np.log2(n_obs))),
        n_jobs=1,
        random_state=seed,
    )


def count_parts(graph: sparse.csr_matrix) -> int:
    """Parts without a link between them that UMAP may find in a graph of neighbours; it leaves out weak links."""
    strong = graph.copy()
    strong.data[strong.data < WEAKEST * strong.data.max()] = 0
    strong.eliminate_zeros()
    return connected_components(strong, directed=False)[0]
