"""How a mapping did: mixing, purity, what each space transfers, fidelity of the picture, clusters and their flow."""

from typing import TYPE_CHECKING

import numpy as np

from scfviz.tasks.mapping.compute import CellMapping, FittedReference
from scfviz.tasks.mapping.labels import NO_COUNTERPART, UNDECIDED
from scfviz.tasks.mapping.lisi import N_NEIGHBORS, compute_lisi, score_mixing
from scfviz.tasks.mapping.neighbors import NeighborSearch, spread_sample
from scfviz.tasks.mapping.spaces import SPACES, TITLES

if TYPE_CHECKING:
    import pandas as pd
    from scipy import sparse

MOST_CELLS, MOST_CELLS_FOR_CLUSTERS, MOST_CELLS_FOR_PICTURE = 2_000, 20_000, 1_500
TRUST_NEIGHBORS, CLUSTER_NEIGHBORS = 15, 15
SURPRISE = 1e-3  # chance below which a cluster has more cells without counterpart than the false rate explains


def mixing_with_reference(fitted: FittedReference, found: CellMapping) -> np.ndarray:
    """How well each cell of the query is mixed with the reference, 0 (apart) to 1, float64 (n_obs,).

    Neighbours are looked for among as many cells of the one as of the other.
    """
    own, other = fitted.points[fitted.main], found.points[fitted.main]
    size = min(len(own), len(other), MOST_CELLS)
    chosen = spread_sample(other, size)
    pool = np.concatenate([own[spread_sample(own, size)], other[chosen]])
    from_query = np.arange(len(pool)) >= size
    place = np.full(len(other), -1)
    place[chosen] = np.arange(size, 2 * size)
    numbers, distances = NeighborSearch(pool).nearest(other, N_NEIGHBORS, own=place)
    return compute_lisi(distances, from_query[numbers].astype(int)) - 1


def score_spaces(fitted: FittedReference, found: CellMapping, truth: np.ndarray | None) -> "pd.DataFrame":
    """One row per space: what it is worth on the reference, how it mixes, and what it transfers.

    Parameters
    ----------
    truth
        object (n_query,): the query's own labels where it has the same column, None for a cell without one. Types
        are these labels, else those that were transferred.
    """
    import pandas as pd

    names = np.array(fitted.labels.names, dtype=object)
    codes = fitted.labels.codes
    # the reference's cells as they are, the query's without the shift
    own, other = (spread_sample(points["both"], MOST_CELLS) for points in (fitted.points, found.points))
    types = found.nearest if truth is None else np.where(_known(truth), truth, "no label")
    batches = np.repeat([0, 1], [len(own), len(other)])
    rows = []
    for name in SPACES:
        points = np.concatenate([fitted.points[name][own], found.points[name][other]])
        mixed = score_mixing(points, batches, np.concatenate([names[codes[own]], types[other]]).astype(str))
        held_out = names[fitted.held_out.looks[name].probabilities.argmax(axis=1)]
        rows.append(
            {
                "space": name,
                "title": TITLES[name],
                "weight": fitted.weights.weights[name],
                "log_loss_reference": fitted.weights.losses[name],
                "f1_reference": macro_f1(names[fitted.held_out.codes], held_out),
                "f1_query": None if truth is None else transfer_f1(truth, found.by_space[name], fitted.labels.names),
                "ilisi": mixed["ilisi"],
                "clisi": mixed["clisi"],
                "n_shared_types": mixed["n_shared_types"],
            }
        )
    return pd.DataFrame(rows)


def macro_f1(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Mean F1 over the classes that the truth holds; a stray prediction of another class adds no zero."""
    from sklearn.metrics import f1_score

    truth, predicted = truth.astype(str), predicted.astype(str)
    return float(f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0))


def transfer_f1(truth: np.ndarray, predicted: np.ndarray, names: tuple[str, ...]) -> float | None:
    """Macro-F1 of the query's own labels that the reference has, too; None where it shares none."""
    shared = _known(truth) & np.isin(truth.astype(str), names)
    return macro_f1(truth[shared], predicted[shared]) if shared.any() else None


def _known(truth: np.ndarray) -> np.ndarray:
    return np.array([value is not None and value == value for value in truth], dtype=bool)


def picture_fidelity(found: CellMapping, space: str) -> float | None:
    """Whether neighbours on the picture are neighbours in the space: trustworthiness, k = 15, 0 to 1."""
    from sklearn.manifold import trustworthiness

    placed = np.flatnonzero(np.isfinite(found.umap).all(axis=1))
    points = found.points[space][placed]
    chosen = spread_sample(points, MOST_CELLS_FOR_PICTURE)
    if len(chosen) <= 2 * TRUST_NEIGHBORS:
        return None
    return float(trustworthiness(points[chosen], found.umap[placed][chosen], n_neighbors=TRUST_NEIGHBORS))


def cluster_query(points: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Leiden clusters of cells in a space, str (n_obs,), "0" the largest; of many cells those of a sample."""
    from scfviz.tasks.embedding.compute import cluster_cells

    # in an order of their own, so that clusters do not depend on that of the file
    chosen = spread_sample(points, MOST_CELLS_FOR_CLUSTERS)
    chosen = chosen[np.lexsort(points[chosen, :4].T[::-1])]
    search = NeighborSearch(points[chosen])
    clusters = cluster_cells(_neighbor_graph(search, CLUSTER_NEIGHBORS), seed=seed)
    if len(chosen) < len(points):
        return clusters[search.nearest(points, 1)[0][:, 0]]
    return clusters[np.argsort(chosen)]


def _neighbor_graph(search: NeighborSearch, k: int) -> "sparse.csr_matrix":
    from scipy import sparse

    n = len(search.points)
    numbers, _ = search.nearest(search.points, k, own=np.arange(n))
    ones = np.ones(numbers.size, dtype=np.float32)
    graph = sparse.csr_matrix((ones, (np.repeat(np.arange(n), numbers.shape[1]), numbers.ravel())), shape=(n, n))
    return sparse.csr_matrix(graph + graph.T)


def summarise_clusters(clusters: np.ndarray, found: CellMapping, false_rate: float) -> "pd.DataFrame":
    """One row per cluster of the query: the label most of its cells get, shares, distance, and whether it is new.

    `relative_distance` is over the distance that a quarter of the query's cells stay below: it sets clusters apart
    where another platform puts all cells farther away.
    """
    import pandas as pd
    from scipy.stats import binom

    known = found.distance[np.isfinite(found.distance)]
    usual = float(np.quantile(known, 0.25)) if len(known) else 1.0
    rows = []
    for name in order_names(clusters):
        mine = clusters == name
        n_cells, n_new = int(mine.sum()), int((found.label[mine] == NO_COUNTERPART).sum())
        distance = found.distance[mine]
        labels, counts = np.unique(found.nearest[mine].astype(str), return_counts=True)
        order = np.argsort(-counts, kind="stable")
        chance = float(binom.sf(n_new - 1, n_cells, false_rate)) if n_new else 1.0
        rows.append(
            {
                "cluster": name,
                "n_cells": n_cells,
                "label": labels[order[0]],
                "share": counts[order[0]] / n_cells,
                "runner_up": labels[order[1]] if len(order) > 1 else None,
                "no_counterpart": n_new / n_cells,
                "undecided": float((found.label[mine] == UNDECIDED).mean()),
                "distance": float(np.nanmedian(distance)) if np.isfinite(distance).any() else None,
                "relative_distance": float(np.nanmedian(distance)) / usual if np.isfinite(distance).any() else None,
                "likeness": float(found.likeness[mine][0]) if n_cells else None,
                "chance": chance,
                "has_no_counterpart": bool(chance < SURPRISE and n_new > n_cells / 2),
            }
        )
    return pd.DataFrame(rows)


def flow_of(clusters: np.ndarray, found: CellMapping) -> "pd.DataFrame":
    """Cells by cluster of the query and label, "no counterpart" and "undecided" among these."""
    import pandas as pd

    table = pd.DataFrame({"cluster": clusters.astype(str), "label": found.label.astype(str)})
    return (
        table.value_counts()
        .rename("n_cells")
        .reset_index()
        .sort_values(["cluster", "n_cells", "label"], ascending=[True, False, True], ignore_index=True)
    )


def order_names(names: np.ndarray) -> list[str]:
    """Names of clusters in their order: numbers by size, then texts."""
    return sorted(set(names), key=lambda name: (not name.isdigit(), len(name) if name.isdigit() else 0, name))
