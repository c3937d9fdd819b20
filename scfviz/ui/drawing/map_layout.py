"""Where a map is looked at and where the names of its groups stand. Found once for each map and colouring."""

from functools import lru_cache

import numpy as np

from scfviz.ui.drawing import raster

_SQUARES = 24
_MAX_CELLS = 200_000
MAX_LABELS = 60
_places: dict[tuple[str, str], list] = {}
_boxes: dict[str, tuple[float, ...]] = {}
_KEPT = 64
_SHARE = 0.25  # of a group among the cells around its name: below it, the name would stand on other groups


def fitted(xy: np.ndarray, content_id: str) -> tuple[float, ...]:
    """The box that shows the map whole, see `raster.fit_box`."""
    if content_id not in _boxes:
        _make_room(_boxes)
        _boxes[content_id] = raster.fit_box(xy)
    return _boxes[content_id]


def label_places(xy: np.ndarray, codes: np.ndarray, n_groups: int, content_id: tuple[str, str]) -> list | None:
    """A place for the name of each group: where it is dense and other groups are few, so that it lies on the group.

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
        One [x, y] or None per group (no cell here, or everywhere a small part among others); None for more than 60
        groups: their names would cover the map.
    """
    if n_groups > MAX_LABELS:
        return None
    if content_id not in _places:
        _make_room(_places)
        _places[content_id] = find_places(xy, codes, n_groups, fitted(xy, content_id[0]))
    return _places[content_id]


def find_places(xy: np.ndarray, codes: np.ndarray, n_groups: int, box: tuple[float, ...]) -> list[list[float] | None]:
    """The places of `label_places`, found again; codes from `n_groups` on stand for no group of their own."""
    if len(xy) > _MAX_CELLS:
        part = _sample(len(xy))
        xy, codes = xy[part], codes[part]
    x0, y0, x1, y1 = box
    known = np.isfinite(xy).all(axis=1)
    xy, codes = xy[known], np.minimum(codes[known].astype(np.int64), n_groups)
    span = np.array([max(x1 - x0, 1e-9), max(y1 - y0, 1e-9)])
    at = np.clip((xy - [x0, y0]) / span * _SQUARES, 0, _SQUARES - 1).astype(np.int64)
    square = at[:, 0] * _SQUARES + at[:, 1]
    counts = np.bincount(codes * _SQUARES**2 + square, minlength=(n_groups + 1) * _SQUARES**2)
    counts = counts.reshape(n_groups + 1, _SQUARES, _SQUARES)
    density = _smooth(_smooth(counts.astype(float)))
    purity = density[:n_groups] / np.maximum(density.sum(axis=0), 1e-12)
    score = np.where((counts[:n_groups] > 0) & (purity >= _SHARE), density[:n_groups] * purity, -1.0).reshape(
        n_groups, -1
    )
    best = np.append(np.where(score.max(axis=1) > 0, score.argmax(axis=1), -1), -1)
    # The cell nearest to the middle of its group's best square: the name stands on a cell of its group.
    inside = np.flatnonzero(square == best[codes])
    groups = codes[inside]
    number = np.maximum(np.bincount(groups, minlength=n_groups + 1), 1)
    middle = np.stack([np.bincount(groups, xy[inside, axis], n_groups + 1) / number for axis in (0, 1)], axis=1)
    distance = (((xy[inside] - middle[groups]) / span) ** 2).sum(axis=1)
    order = inside[np.lexsort((distance, groups))]
    found, first = np.unique(codes[order], return_index=True)
    places: list = [None] * n_groups
    for group, place in zip(found.tolist(), xy[order[first]].tolist(), strict=True):
        if group < n_groups:
            places[group] = place
    return places


def _smooth(counts: np.ndarray) -> np.ndarray:
    """Each square with a part of its neighbours, along the last two axes."""
    for axis in (1, 2):
        padded = np.pad(counts, [(1, 1) if each == axis else (0, 0) for each in range(3)])
        take = [np.take(padded, range(start, start + counts.shape[axis]), axis=axis) for start in range(3)]
        counts = (take[0] + 2 * take[1] + take[2]) / 4
    return counts


@lru_cache(maxsize=4)
def _sample(n: int) -> np.ndarray:
    return np.random.default_rng(0).choice(n, _MAX_CELLS, replace=False)


def _make_room(cache: dict) -> None:
    while len(cache) >= _KEPT:
        cache.pop(next(iter(list(cache))), None)  # a copy: other visitors use the cache meanwhile
