"""Nearest cells of another set: exact, the same to the bit for any order or chunk of the cells that ask."""

import numpy as np

_ROWS = 1_000  # of the asking cells at a time
_SPARE = 8  # candidates beyond those asked for: what rounding may have swapped


class NeighborSearch:
    """Nearest cells among points, Euclidean.

    Candidates come from a matrix product, whose rounding depends on the size of a chunk; their distances are then
    computed one by one, so that they do not.

    Parameters
    ----------
    points
        (n_points, D), finite.
    """

    def __init__(self, points: np.ndarray):
        self.points = np.ascontiguousarray(points, dtype=np.float64)
        self._squares = np.einsum("ij,ij->i", self.points, self.points)

    def nearest(self, cells: np.ndarray, k: int, *, own: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The nearest points of each cell.

        Parameters
        ----------
        cells
            (n, D).
        k
            Neighbours; fewer where there are fewer points.
        own
            int (n,): position among the points of each cell itself, which is then no neighbour; -1 where it is none.

        Returns
        -------
        tuple
            int64 (n, k) positions, nearest first and equal distances by position, and float64 (n, k) distances.
        """
        n_points = len(self.points)
        k = max(min(k, n_points - (own is not None)), 0)
        numbers, distances = np.empty((len(cells), k), np.int64), np.empty((len(cells), k))
        wanted = min(k + _SPARE + (own is not None), n_points)
        for start in range(0, len(cells), _ROWS):
            part = np.asarray(cells[start : start + _ROWS], dtype=np.float64)
            squares = self._squares - 2 * part @ self.points.T
            found = np.argpartition(squares, wanted - 1, axis=1)[:, :wanted] if wanted < n_points else None
            found = np.tile(np.arange(n_points), (len(part), 1)) if found is None else np.sort(found, axis=1)
            exact = np.empty(found.shape)
            for place in range(found.shape[1]):
                difference = self.points[found[:, place]] - part
                exact[:, place] = np.sqrt((difference * difference).sum(axis=1))
            if own is not None:
                exact[found == own[start : start + _ROWS, None]] = np.inf
            order = np.argsort(exact, axis=1, kind="stable")[:, :k]
            rows = slice(start, start + len(part))
            numbers[rows], distances[rows] = (np.take_along_axis(values, order, axis=1) for values in (found, exact))
        return numbers, distances


def spread_sample(points: np.ndarray, most: int) -> np.ndarray:
    """At most so many cells from all over a set, the same ones whatever their order: int64 positions."""
    if len(points) <= most:
        return np.arange(len(points))
    order = np.lexsort(points[:, : min(4, points.shape[1])].T[::-1])
    return np.sort(order[np.linspace(0, len(points) - 1, most).astype(np.int64)])
