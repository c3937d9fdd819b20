"""Whether groups of a query differ from each other as their neighbours in the reference do: a second test of novelty.

Distances in a joint space are those of a projection: what the reference's cells never vary in is lost, and cells of
another tissue may lie near. Here all genes speak. What sets a group of cells apart from the others is compared with
what sets its neighbours apart from those of the others; what a platform does to all cells of a query drops out of the
difference.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse

from scfviz.data.normalise import COUNTS_PER_CELL

FEWEST_CELLS = 10  # of a group, and of the others
FEWEST_OF_REFERENCE = 50  # cells: of fewer, the neighbours of every group are the same
FEWEST_AGREEMENT = 0.1  # share of a difference that is not noise: below it nothing sets the group apart for certain
_HALVES = 2


class Counts(Protocol):
    """Counts of cells in blocks, as `AlignedCounts` gives them."""

    n_obs: int
    n_genes: int

    def blocks(self) -> Iterator[tuple[int, sparse.csr_matrix]]:
        """(first cell, counts) in order."""


@dataclass(frozen=True)
class Likeness:
    """How a group is like its neighbours.

    Attributes
    ----------
    value
        Correlation over genes of what sets the group apart with what sets its neighbours apart, in ln(1 + counts per
        10,000) of mean profiles, divided by what the noise of the group's counts leaves of a correlation of 1. About 0
        is unlike the reference. NaN where nobody can tell: fewer than ten cells or fifty of the reference, no others,
        or nothing that sets the group apart.
    is_among_types
        Whether the others are cells to which the reference gives another label; else they are all other cells, which
        may differ from the group by less than the reference resolves.
    """

    value: float
    is_among_types: bool


def compare_groups(
    query: Counts, reference: Counts, neighbors: np.ndarray, groups: np.ndarray, labels: np.ndarray
) -> dict[str, Likeness]:
    """Likeness of each group of the query to its neighbours in the reference.

    A group is compared with the query's cells that the reference gives another label: cells of one type differ by what
    a reference of types does not resolve. Where there are none, with all the others.

    Parameters
    ----------
    query, reference
        Counts on the genes that both measured.
    neighbors
        int (n_query, k), cells of the reference.
    groups
        (n_query,), clusters.
    labels
        (n_query,), what the reference says of each cell.
    """
    groups, labels = np.asarray(groups).astype(str), np.asarray(labels).astype(str)
    sets, told = [], {}
    for name in np.unique(groups):
        mine, others, is_among_types = _others(groups == name, labels)
        is_told = min(len(mine), len(others)) >= FEWEST_CELLS and reference.n_obs >= FEWEST_OF_REFERENCE
        told[name] = len(sets) // 2 if is_told else None, is_among_types
        sets += [mine, others] if is_told else []
    values = np.empty(0)
    if sets:
        of_query = _mean_profiles(query, _by_halves(sets, _halves_of(neighbors)))
        of_reference = _mean_profiles(reference, _neighbors_of(sets, neighbors, reference.n_obs))
        values = _compare(np.log1p(of_query), np.log1p(of_reference))
    return {
        name: Likeness(float("nan") if place is None else float(values[place]), is_among_types)
        for name, (place, is_among_types) in told.items()
    }


def _others(mine: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Cells of a group, those that it is compared with, and whether these have another label."""
    kinds, counts = np.unique(labels[mine], return_counts=True)
    others = np.flatnonzero(~mine & (labels != kinds[counts.argmax()]))
    if len(others) >= FEWEST_CELLS:
        return np.flatnonzero(mine), others, True
    return np.flatnonzero(mine), np.flatnonzero(~mine), False


def _halves_of(neighbors: np.ndarray) -> np.ndarray:
    """Half of each cell of the query, 0 or 1: in turn in an order that does not depend on that of the cells."""
    halves = np.empty(len(neighbors), dtype=np.int64)
    halves[np.lexsort(neighbors.T[::-1])] = np.arange(len(neighbors)) % _HALVES
    return halves


def _by_halves(sets: Sequence[np.ndarray], halves: np.ndarray) -> sparse.csr_matrix:
    """Means over the halves of each set, (2 * len(sets), n_cells): first halves, then second ones."""
    parts = [cells[halves[cells] == half] for half in range(_HALVES) for cells in sets]
    data = np.concatenate([np.full(len(part), 1 / max(len(part), 1)) for part in parts])
    places = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return sparse.csr_matrix((data, (places, np.concatenate(parts))), shape=(len(parts), len(halves)))


def _neighbors_of(sets: Sequence[np.ndarray], neighbors: np.ndarray, n_reference: int) -> sparse.csr_matrix:
    """Means over the neighbours of each set, (len(sets), n_reference)."""
    near = [np.bincount(neighbors[cells].ravel(), minlength=n_reference) / neighbors[cells].size for cells in sets]
    return sparse.csr_matrix(np.stack(near))


def _mean_profiles(counts: Counts, weights: sparse.csr_matrix) -> np.ndarray:
    """Weighted means of counts per 10,000, float64 (n_sets, n_genes)."""
    found = np.zeros((weights.shape[0], counts.n_genes))
    for start, block in counts.blocks():
        scale = COUNTS_PER_CELL / np.maximum(np.asarray(block.sum(axis=1, dtype=np.float64)).ravel(), 1.0)
        found += (weights[:, start : start + block.shape[0]] @ sparse.diags(scale) @ block).toarray()
    return found


def _compare(query: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Likeness from logarithms of profiles: sets and what they are compared with in turn; the query's by halves."""
    used = (query > 0).any(axis=0) | (reference > 0).any(axis=0)
    profiles = query[:, used].reshape(_HALVES, -1, 2, int(used.sum()))
    halves = _centre(profiles[:, :, 0] - profiles[:, :, 1])
    expected = _centre(reference[0::2, used] - reference[1::2, used])
    whole = halves.mean(axis=0)
    size, of_expected = (whole**2).sum(axis=1), (expected**2).sum(axis=1)
    # what two halves agree on is no noise
    agreement = np.divide((halves[0] * halves[1]).sum(axis=1), size, out=np.zeros(len(size)), where=size > 0)
    spread = np.sqrt(size * of_expected * np.maximum(agreement, FEWEST_AGREEMENT))
    likeness = np.divide((whole * expected).sum(axis=1), spread, out=np.zeros(len(spread)), where=spread > 0)
    return np.where(agreement >= FEWEST_AGREEMENT, np.clip(likeness, -1.0, 1.0), np.nan)


def _centre(values: np.ndarray) -> np.ndarray:
    return values - values.mean(axis=-1, keepdims=True)
