"""A map of any cells without a model: variable genes, principal components, neighbours, UMAP, Leiden clusters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scfviz.data.align import AlignedCounts

MOST_CELLS = 100_000  # above, a random sample is drawn: a map of a million cells takes an hour


@dataclass(frozen=True)
class QuickMap:
    """Places and clusters of cells.

    Attributes
    ----------
    umap
        float32 (n_obs, 2), no unit; NaN for cells that have no place.
    clusters
        object (n_obs,): Leiden clusters "0", "1", ... from the largest to the smallest, None for cells without a place.
    notes
        What was left out or done differently, and why.
    """

    umap: np.ndarray
    clusters: np.ndarray
    notes: tuple[str, ...]


def draw_quick_map(
    counts: "AlignedCounts",
    *,
    most_cells: int = MOST_CELLS,
    seed: int = 0,
    progress: Callable[[float, str], None] = lambda share, stage: None,
) -> QuickMap:
    """Draw cells by their variable genes, over all genes of the file.

    Parameters
    ----------
    counts
        `OpenDataset.counts`.
    most_cells
        Of more cells a random sample of so many is drawn.
    progress
        Called with the share done, 0 to 1, and what is being done; may raise `Stopped`.

    Raises
    ------
    DatasetError
        No cell has counts, or no gene varies.
    """
    from scfviz.tasks.embedding.compute import build_map, embed_baseline

    placed = np.flatnonzero(np.asarray(counts.total_counts) > 0)
    notes = []
    if n_empty := counts.n_obs - len(placed):
        notes.append(f"{n_empty:,} cells without a single count have no place.")
    if len(placed) > most_cells:
        notes.append(f"A random sample of {most_cells:,} of {len(placed):,} cells is drawn.")
        placed = np.sort(np.random.default_rng(seed).choice(placed, most_cells, replace=False))
    progress(0.1, "Variable genes and principal components")
    components = embed_baseline(counts if len(placed) == counts.n_obs else counts.subset(placed), seed=seed)
    progress(0.4, "Drawing the map and finding clusters")
    drawn = build_map(components, seed=seed)
    umap = np.full((counts.n_obs, 2), np.nan, dtype=np.float32)
    clusters = np.full(counts.n_obs, None, dtype=object)
    umap[placed], clusters[placed] = drawn.umap, drawn.clusters
    return QuickMap(umap, clusters, (*notes, *drawn.notes))
