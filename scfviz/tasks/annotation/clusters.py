"""What the cells of a cluster are called together: majority, runner-up, genes for and against, nearest reference."""

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scfviz.tasks.annotation.classifier import Classifier
from scfviz.tasks.annotation.compute import UNKNOWN, CellAnnotation, nearest_cells

if TYPE_CHECKING:
    import pandas as pd

    from scfviz.data.align import AlignedCounts

N_MARKERS, N_SHOWN = 25, 5
LEAST_DIFFERENCE = 0.25  # of mean ln(1 + counts per 10,000) between a type and the others, for a marker
_FEWEST_CELLS = 3


def find_clusters(annotation: CellAnnotation, *, n_neighbors: int = 15, seed: int = 0) -> np.ndarray:
    """Leiden clusters in the joint space, str (n,), "0" the largest."""
    from sklearn.neighbors import NearestNeighbors

    from scfviz.tasks.embedding.compute import cluster_cells

    n_obs = len(annotation.joint)
    if n_obs < _FEWEST_CELLS:
        return np.full(n_obs, "0")
    search = NearestNeighbors(n_neighbors=min(n_neighbors, n_obs - 1), algorithm="brute").fit(annotation.joint)
    near = search.kneighbors_graph()  # without an argument a cell is no neighbour of itself
    return cluster_cells(sparse.csr_matrix(near + near.T), seed=seed)


def describe_clusters(
    counts: "AlignedCounts", annotation: CellAnnotation, clusters: np.ndarray, classifier: Classifier
) -> "pd.DataFrame":
    """One row a cluster.

    Returns
    -------
    DataFrame
        `cluster`, `n_cells`, `majority` and `share` (0 to 1), `runner_up` and its share, `certain`: what is certain of
        most of its cells (`CellAnnotation.certain`), `unknown` share, mean
        `confidence`, `markers_for`: markers of the majority type that the cluster has, `markers_against`: those that it
        lacks, `nearest_reference`. Texts are separated by commas.
    """
    import pandas as pd

    names, codes = np.unique(clusters, return_inverse=True)
    order = np.argsort(-np.bincount(codes), kind="stable")
    means, places = _means(counts, annotation, codes, len(names), classifier)
    nearest = nearest_cells(classifier, places)
    types = [*classifier.labels, UNKNOWN]
    number = {name: place for place, name in enumerate(types)}
    found = np.array([number[label] for label in annotation.labels])
    certain = annotation.certain
    rows = []
    for cluster in order:
        mine = codes == cluster
        counted = np.bincount(found[mine], minlength=len(types)) / mine.sum()
        first, second = np.argsort(-counted, kind="stable")[:2]
        there, lacking = ([], []) if first == len(types) - 1 else _markers(classifier, int(first), means[cluster])
        rows.append(
            {
                "cluster": str(names[cluster]),
                "n_cells": int(mine.sum()),
                "majority": types[first],
                "share": float(counted[first]),
                "runner_up": types[second] if counted[second] > 0 else "",
                "runner_up_share": float(counted[second]),
                "certain": _most_common(certain[mine]),
                "unknown": float(counted[-1]),
                "confidence": float(annotation.confidence[mine].mean()),
                "markers_for": ", ".join(there),
                "markers_against": ", ".join(lacking),
                "nearest_reference": ", ".join(nearest[cluster]),
            }
        )
    return pd.DataFrame(rows)


def _most_common(texts: np.ndarray) -> str:
    names, n_cells = np.unique(texts.astype(str), return_counts=True)
    return str(names[n_cells.argmax()])


def _means(
    counts: "AlignedCounts", annotation: CellAnnotation, codes: np.ndarray, n_clusters: int, classifier: Classifier
) -> tuple[np.ndarray, np.ndarray]:
    """Mean variable genes (NaN where they are not measured) and mean place of each cluster."""
    sums = np.zeros((n_clusters, len(classifier.space.variable)))
    size = np.bincount(codes, minlength=n_clusters)[:, None]
    filled = np.zeros(sums.shape[1])
    for start, cells in classifier.space.blocks(counts, None):
        rows = codes[start : start + len(cells)]
        member = sparse.csr_matrix((np.ones(len(rows)), (rows, np.arange(len(rows)))), (n_clusters, len(rows)))
        sums += member @ cells.genes
        filled = cells.filled
    places = np.stack([np.bincount(codes, column, n_clusters) for column in annotation.joint.T], axis=1) / size
    return np.where(filled[None] > 0, np.nan, sums / size), places.astype(np.float32)


def _markers(classifier: Classifier, k: int, mean: np.ndarray) -> tuple[list[str], list[str]]:
    """Markers of a type that a cluster has and lacks, the clearest first."""
    others = np.delete(classifier.profiles, k, axis=0).mean(axis=0)
    difference = classifier.profiles[k] - others
    best = np.argsort(-difference, kind="stable")[:N_MARKERS]
    best = best[(difference[best] > LEAST_DIFFERENCE) & np.isfinite(mean[best])]
    half = (classifier.profiles[k] + others) / 2
    names = [classifier.space.genes[classifier.space.variable[gene]] for gene in best]
    has = mean[best] > half[best]
    there = [name for name, is_there in zip(names, has, strict=True) if is_there]
    lacking = [name for name, is_there in zip(names, has, strict=True) if not is_there]
    return there[:N_SHOWN], lacking[:N_SHOWN]
