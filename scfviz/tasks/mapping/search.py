"""What a reference says of cells: labels by their neighbours, and how far they lie, judged by the reference itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scfviz.tasks.mapping.neighbors import NeighborSearch

_SMOOTH = 0.5  # votes shared by all labels: a probability of exactly 0 or 1 is never known
_TINY = 1e-12


@dataclass(frozen=True)
class Look:
    """What one space says of some cells.

    Attributes
    ----------
    probabilities
        float64 (n, n_labels), each row sums to one.
    score
        float64 (n,): ln of the mean distance to the neighbours over that which the neighbours have to theirs. 0 is
        like the reference, ln 2 is twice as far.
    numbers, weights
        int64 and float64 (n, k): neighbours in the reference and what they count; weights sum to one.
    """

    probabilities: np.ndarray
    score: np.ndarray
    numbers: np.ndarray
    weights: np.ndarray

    @staticmethod
    def join(parts: Sequence["Look"]) -> "Look":
        """Looks at several sets of cells as one; neighbours are dropped, for each set has a reference of its own."""
        probabilities, score = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("probabilities", "score")
        )
        return Look(probabilities, score, np.empty((len(score), 0), np.int64), np.empty((len(score), 0)))


class ReferenceSearch:
    """The reference in one space.

    Parameters
    ----------
    points
        (n_reference, D).
    codes
        int (n_reference,): label of each cell.
    n_labels
        How many there are.
    k
        Neighbours that are asked.
    """

    def __init__(self, points: np.ndarray, codes: np.ndarray, n_labels: int, k: int):
        self._search, self._codes, self._n_labels, self._k = NeighborSearch(points), codes, n_labels, k
        distances = self._search.nearest(points, k, own=np.arange(len(points)))[1]
        self._distance = np.maximum(distances.mean(axis=1), _TINY)  # of each cell to its own neighbours

    def look(self, points: np.ndarray) -> Look:
        """What it says of other cells, (n, D)."""
        numbers, distances = self._search.nearest(points, self._k)
        width = np.maximum(distances[:, -1:], _TINY)
        weights = np.exp(-((distances / width) ** 2))
        votes = np.full((len(numbers), self._n_labels), _SMOOTH / self._n_labels)
        rows = np.repeat(np.arange(len(numbers)), numbers.shape[1])
        np.add.at(votes, (rows, self._codes[numbers].ravel()), weights.ravel())
        weights = weights / weights.sum(axis=1, keepdims=True)
        around = (weights * np.log(self._distance[numbers])).sum(axis=1)
        score = np.log(np.maximum(distances.mean(axis=1), _TINY)) - around
        return Look(votes / votes.sum(axis=1, keepdims=True), score, numbers, weights)


def combine_scores(looks: Mapping[str, Look], weights: Mapping[str, float]) -> np.ndarray:
    """The score of several spaces, float64 (n,): the mean by their weights."""
    return sum(weights[name] * look.score for name, look in looks.items() if weights.get(name, 0) > 0)


def p_values(scores: np.ndarray, own: np.ndarray) -> np.ndarray:
    """How rarely a cell of the reference lies as far as each cell, float64 (n,), above 0 to 1.

    Parameters
    ----------
    scores
        (n,) of the cells.
    own
        (n_reference,) of the reference's cells, projected into spaces that were learned without them.
    """
    ordered = np.sort(own)
    return (1 + len(ordered) - np.searchsorted(ordered, scores, side="left")) / (len(ordered) + 1)


def place_cells(look: Look, positions: np.ndarray) -> np.ndarray:
    """Places of cells on the reference's picture, float32 (n, 2); the picture stays as it is.

    The mean of the half of a cell's neighbours that lie together, around the one that is nearest to all: a mean of
    all would put a cell between two islands where nothing is.

    Parameters
    ----------
    positions
        (n_reference, 2); cells of the reference without a place are not counted.
    """
    around = positions[look.numbers].astype(np.float64)  # n, k, 2
    known = np.isfinite(around).all(axis=2)
    around, weights = np.where(known[:, :, None], around, 0.0), np.where(known, look.weights, 0.0)
    apart = np.sqrt(((around[:, :, None, :] - around[:, None, :, :]) ** 2).sum(axis=3))
    total = np.where(known, (apart * weights[:, None, :]).sum(axis=2), np.inf)
    middle = total.argmin(axis=1)
    from_middle = np.take_along_axis(apart, middle[:, None, None], axis=1)[:, 0]
    from_middle = np.where(known, from_middle, np.inf)
    limit = np.partition(from_middle, from_middle.shape[1] // 2, axis=1)[:, from_middle.shape[1] // 2, None]
    weights = np.where(from_middle <= limit, weights, 0.0)
    sums = weights.sum(axis=1, keepdims=True)
    placed = (weights[:, :, None] * around).sum(axis=1) / np.where(sums > 0, sums, 1.0)
    return np.where(sums > 0, placed, np.nan).astype(np.float32)
