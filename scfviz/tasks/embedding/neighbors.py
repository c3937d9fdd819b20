"""The nearest neighbours that a map starts from, without what scanpy keeps for questions that nobody asks."""

from typing import Any

import numpy as np
from scipy import sparse

from scfviz.data.memory import give_back_memory
from scfviz.tasks.embedding.sampled import MOST_EXACT


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
            give_back_memory()
            return found

    return Search(
        n_neighbors=n_neighbors,
        n_trees=min(64, 5 + round(n_obs**0.5 / 20)),
        n_iters=max(5, round(np.log2(n_obs))),
        n_jobs=1,
        random_state=seed,
    )
