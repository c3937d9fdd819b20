"""Draw a map of cells to pixels with numpy alone: for browsers without WebGL and for figures to keep.

A cell is a disc. Where discs overlap, the cell that is drawn last gives the colour (categories mixed, high values last,
selected cells above others), and the number of discs the opacity, so that dense places look dense.
"""

from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO

import numpy as np

FAINT = 0.2  # opacity of cells outside the selection, relative to the others
_STAMPS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Cells:
    """What is drawn.

    Attributes
    ----------
    codes
        uint8 or uint16 (n_cells,), see `quantise.encode`.
    colors
        uint8 (n_codes + 1, 3).
    by_value
        High codes are drawn last; otherwise cells are mixed.
    selected
        bool (n_cells,), `None` when nothing is selected.
    hidden
        Codes that are left out.
    """

    codes: np.ndarray
    colors: np.ndarray
    by_value: bool
    selected: np.ndarray | None = None
    hidden: tuple[int, ...] = ()


def point_look(n_cells: int, width: float, height: float, zoom: float = 1.0) -> tuple[float, float]:
    """Diameter in pixels and opacity of a point; the same rule as in the browser (components/cell_map/src/look.js)."""
    n = max(1, n_cells)
    size = min(9.0, max(1.4, 2 * np.sqrt(0.3 * width * height / (np.pi * n))))
    opacity = min(0.95, max(0.45, 1.3 - 0.133 * np.log10(n)))
    closer = max(1.0, zoom)
    return float(min(14.0, size * closer**0.45)), float(1 - (1 - opacity) / closer**0.5)


def fit_box(points: np.ndarray) -> tuple[float, float, float, float]:
    """The box (x0, y0, x1, y1) of the 0.05 to 99.95 % quantiles: a few outliers must not shrink the map."""
    known = points[np.isfinite(points).all(axis=1)]
    if not len(known):
        return -1.0, -1.0, 1.0, 1.0
    low, high = np.quantile(known, [0.0005, 0.9995], axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def widen(box: tuple[float, ...], width: float, height: float, margin: float = 0.94) -> tuple[float, ...]:
    """The box that a picture of this shape shows when it fits `box` with some margin, at equal scales of both axes."""
    x0, y0, x1, y1 = box
    unit = max((x1 - x0) / width, (y1 - y0) / height) / margin or 1.0
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    return cx - unit * width / 2, cy - unit * height / 2, cx + unit * width / 2, cy + unit * height / 2


def draw_cells(
    points: np.ndarray,
    cells: Cells,
    *,
    box: tuple[float, float, float, float],
    width: int,
    height: int,
    size: float,
    opacity: float,
    supersampling: int = 2,
) -> np.ndarray:
    """A picture of the part of a map inside `box`.

    Parameters
    ----------
    points
        float (n_cells, 2).
    width, height
        Pixels.
    size, opacity
        Diameter of a cell in pixels; opacity of one cell alone.
    supersampling
        Each pixel is the mean of so many, squared; 1 is enough for print.

    Returns
    -------
    np.ndarray
        uint8 (height, width, 4): red, green, blue, opacity; transparent where there is no cell.
    """
    scale = supersampling
    w, h = width * scale, height * scale
    x0, y0, x1, y1 = box
    radius = max(0.5, size * scale / 2)
    edge = int(np.ceil(radius))
    with np.errstate(invalid="ignore"):
        columns = np.floor((points[:, 0] - x0) * np.float32(w / (x1 - x0)))
        rows = np.floor((y1 - points[:, 1]) * np.float32(h / (y1 - y0)))
        inside = (columns >= -edge) & (columns < w + edge) & (rows >= -edge) & (rows < h + edge)
    if cells.hidden:
        inside &= ~np.isin(cells.codes, cells.hidden)
    order = _draw_order(cells)
    order = order[inside[order]]
    border = 2 * edge  # discs of cells just outside still reach into the picture
    shape = (h + 2 * border, w + 2 * border)
    pixel = (rows[order].astype(np.int32) + border) * shape[1] + columns[order].astype(np.int32) + border
    layers = [(slice(None), opacity)]
    if cells.selected is not None:
        first = int(np.searchsorted(cells.selected[order], True))
        layers = [(slice(0, first), opacity * FAINT), (slice(first, None), opacity)]
    picture = np.zeros((h, w, 4), np.float32)
    for part, strength in layers:
        _add_layer(picture, pixel[part], cells.codes[order[part]], cells.colors, shape, radius, strength)
    small = sum(picture[i::scale, j::scale] for i in range(scale) for j in range(scale)) / scale**2
    alpha = small[..., 3:]
    small[..., :3] = np.divide(small[..., :3], alpha, out=np.zeros_like(small[..., :3]), where=alpha > 0)
    small[..., 3] *= 255
    return np.rint(np.clip(small, 0, 255)).astype(np.uint8)


def to_png(picture: np.ndarray) -> bytes:
    """A picture as a PNG file, packed fast rather than small."""
    from PIL import Image

    out = BytesIO()
    Image.fromarray(picture).save(out, "PNG", compress_level=1)
    return out.getvalue()


def _add_layer(
    picture: np.ndarray,
    pixel: np.ndarray,
    codes: np.ndarray,
    colors: np.ndarray,
    shape: tuple[int, int],
    radius: float,
    strength: float,
) -> None:
    """Lay discs over a picture of premultiplied colours."""
    if not len(pixel):
        return
    top, count = _stamp(pixel, shape, radius)
    border = (shape[0] - picture.shape[0]) // 2
    inner = (slice(border, -border), slice(border, -border))
    top, count = top.reshape(shape)[inner], count.reshape(shape)[inner]
    covered = np.nonzero(top >= 0)
    alpha = 1 - np.float32(1 - strength) ** np.minimum(count[covered], 1_000)
    below = picture[covered] * (1 - alpha)[:, None]
    below[:, 3] += alpha
    below[:, :3] += colors[codes[top[covered]]] * alpha[:, None]
    picture[covered] = below


def _stamp(pixel: np.ndarray, shape: tuple[int, int], radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Per pixel the rank of the topmost disc, -1 for none, and the number of discs; the lowest cells come first."""
    reach = np.arange(-int(radius), int(radius) + 1)
    dy, dx = (grid.ravel() for grid in np.meshgrid(reach, reach, indexing="ij"))
    disc = (dy * shape[1] + dx)[dy * dy + dx * dx <= radius * radius].astype(np.int32)
    n = shape[0] * shape[1]
    top, count = np.full(n, -1, np.int32), np.zeros(n, np.int32)
    step = max(1, _STAMPS_AT_ONCE // len(disc))
    for start in range(0, len(pixel), step):
        places = (pixel[start : start + step, None] + disc).ravel()
        ranks = np.arange(start, start + len(places) // len(disc), dtype=np.int32)
        top[places] = np.repeat(ranks, len(disc))  # numpy keeps the last of repeated places: the painter's rule
        count += np.bincount(places, minlength=n).astype(np.int32)
    return top, count


def _draw_order(cells: Cells) -> np.ndarray:
    """Cells from the lowest to the topmost: those outside the selection first."""
    order = _mixed(len(cells.codes))
    if cells.by_value:
        # Cells without a value have the highest code; they belong below all others.
        level = np.where(cells.codes == len(cells.colors) - 1, 0, cells.codes.astype(np.int32) + 1).astype(np.uint16)
        order = order[np.argsort(level[order], kind="stable")]
    if cells.selected is not None:
        chosen = cells.selected[order]
        order = np.concatenate([order[~chosen], order[chosen]])
    return order


@lru_cache(maxsize=4)
def _mixed(n: int) -> np.ndarray:
    """Always the same mixture, so that a picture is the same every time."""
    return np.random.default_rng(42).permutation(n).astype(np.int32)
