"""Where a map is looked at and where the names of its groups stand. Found once for each map and colouring."""

from functools import lru_cache

import numpy as np

from scfviz.ui.drawing import raster

_SQUARES = 24
_MAX_CELLS = 200_000
MAX_LABELS = 40
_places: dict[tuple[str, str], list] = {}
_boxes: dict[str, tuple[float, ...]] = {}
_KEPT = 64


def fitted(xy: np.ndarray, content_id: str) -> tuple[float, ...]:
    """The box that shows the map whole, see `raster.fit_box`."""
    if content_id not in _boxes:
        _make_room(_boxes)
        _boxes[content_id] = raster.fit_box(xy)
    return _boxes[content_id]


def label_places(xy: np.ndarray, codes: np.ndarray, n_groups: int, content_id: tuple[str, str]) -> list | None:
    """A place for the name of each group: the middle of its densest spot, so that it lies on the group.

    Parameters
    ----------
    xy
        float (n_cells, 2).
    codes
        Group of each cell.
    content_id
        What positions and codes are called; the answer is kept under it.

    Returns
    -------
    list or None
        One [x, y] or None (no cell here) per group; None for more than 40 groups: their names would cover the map.
    """
    if n_groups > MAX_LABELS:
        return None
    if content_id not in _places:
        _make_room(_places)
        _places[content_id] = find_places(xy, codes, n_groups, fitted(xy, content_id[0]))
    return _places[content_id]


def find_places(xy: np.ndarray, codes: np.ndarray, n_groups: int, box: tuple[float, ...]) -> list:
    if len(xy) > _MAX_CELLS:
        part = _sample(len(xy))
        xy, codes = xy[part], codes[part]
    x0, y0, x1, y1 = box
    known = np.isfinite(xy).all(axis=1)
    xy, codes = xy[known], codes[known].astype(np.int64)
    span = np.array([max(x1 - x0, 1e-9), max(y1 - y0, 1e-9)])
    at = np.clip((xy - [x0, y0]) / span * _SQUARES, 0, _SQUARES - 1).astype(np.int64)
    square = codes * _SQUARES**2 + at[:, 0] * _SQUARES + at[:, 1]
    size = n_groups * _SQUARES**2
    counts = np.bincount(square, minlength=size)
    sums = [np.bincount(square, weights=xy[:, axis], minlength=size) for axis in (0, 1)]
    best = counts.reshape(n_groups, -1).argmax(axis=1) + np.arange(n_groups) * _SQUARES**2
    return [[float(axis[i] / counts[i]) for axis in sums] if counts[i] else None for i in best]


@lru_cache(maxsize=4)
def _sample(n: int) -> np.ndarray:
    return np.random.default_rng(0).choice(n, _MAX_CELLS, replace=False)


def _make_room(cache: dict) -> None:
    while len(cache) >= _KEPT:
        cache.pop(next(iter(list(cache))), None)  # a copy: other visitors use the cache meanwhile
