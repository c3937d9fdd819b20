"""Which perturbations look alike: links between those whose changes go together, and places for a picture of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

N_LINKS, LEAST = 3, 0.4


def cluster(change: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order of rows with similar ones beside each other (average linkage), and their correlations."""
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    alike = np.nan_to_num(np.corrcoef(change))
    np.fill_diagonal(alike, 1.0)
    apart = squareform(np.clip(1 - alike, 0, 2), checks=False)
    return leaves_list(linkage(apart, "average", optimal_ordering=len(change) < 200)), alike


def link_alike(
    alike: np.ndarray, names: Sequence[str], *, n_links: int = N_LINKS, least: float = LEAST
) -> "pd.DataFrame":
    """Each perturbation with its nearest ones: `first`, `second`, `r`, the strongest first.

    Parameters
    ----------
    alike
        (n, n), correlations of changes.
    least
        Of a correlation that makes a link.
    """
    import pandas as pd

    near = np.where(np.eye(len(alike), dtype=bool), -np.inf, alike)
    found = set()
    for i, row in enumerate(near):
        for k in np.argsort(-row, kind="stable")[:n_links]:
            if row[k] >= least:
                found.add((min(i, int(k)), max(i, int(k))))
    rows = sorted(((names[i], names[k], float(alike[i, k])) for i, k in found), key=lambda one: -one[2])
    return pd.DataFrame(rows, columns=["first", "second", "r"])


def place_alike(links: "pd.DataFrame", names: Sequence[str], seed: int = 0) -> np.ndarray:
    """float64 (n, 2): places by springs along the links, the same every time; distances mean nothing."""
    import random

    import igraph

    place = {name: i for i, name in enumerate(names)}
    edges = [(place[one.first], place[one.second]) for one in links.itertuples()]
    net = igraph.Graph(n=len(names), edges=edges)
    igraph.set_random_number_generator(random.Random(seed))
    try:
        start = np.random.default_rng(seed).normal(size=(len(names), 2)).tolist()
        found = net.layout_fruchterman_reingold(weights=links["r"].tolist(), seed=start, niter=500)
    finally:
        igraph.set_random_number_generator(random)
    return np.array(found.coords, dtype=np.float64).reshape(-1, 2)
