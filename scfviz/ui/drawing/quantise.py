"""Colours as small codes, one or two bytes per cell, and what the codes mean: this is what travels to the browser."""

from dataclasses import dataclass

import numpy as np

from scfviz.ui.drawing import palette
from scfviz.ui.drawing.coloring import Labels, Values

N_VALUE_CODES = 255  # the 256th stands for cells without a value
BLEND_LEVELS = 6
BLEND_COLORS = ("#d62728", "#1fa34a", "#2f6fe0")  # mixed as light: red, green, blue
UNKNOWN = "#a9b1b3"


@dataclass(frozen=True)
class Blend:
    """Two or three genes at once.

    Attributes
    ----------
    title
        What is blended, as plain text.
    names
        The genes.
    levels
        uint8 (n_genes, n_cells): 0 to `BLEND_LEVELS` - 1.
    highs
        What the highest level of each gene stands for, in `unit`.
    is_known
        bool (n_cells,).
    """

    title: str
    unit: str
    names: tuple[str, ...]
    levels: np.ndarray
    highs: tuple[float, ...]
    is_known: np.ndarray


Coloring = Labels | Values | Blend


def blend(genes: dict[str, np.ndarray], unit: str) -> Blend:
    """Mix the colours of two or three genes.

    Parameters
    ----------
    genes
        By name: float (n_cells,), NaN where it is not known. Full strength is the 99th percentile of cells above zero.
    """
    values = np.array(list(genes.values()), np.float32)
    highs = []
    levels = np.zeros(values.shape, np.uint8)
    for row, gene in enumerate(values):
        positive = gene[gene > 0]
        high = float(np.percentile(positive, 99)) if positive.size else 1.0
        highs.append(high)
        levels[row] = np.rint(np.clip(np.nan_to_num(gene) / high, 0, 1) * (BLEND_LEVELS - 1))
    known = np.isfinite(values).all(axis=0)
    return Blend(" + ".join(genes), unit, tuple(genes), levels, tuple(highs), known)


def encode(coloring: Coloring) -> np.ndarray:
    """One code per cell.

    Returns
    -------
    np.ndarray
        uint8 (n_cells,), or uint16 for more than 255 categories. `n_codes(coloring)` stands for cells without a value.
    """
    if isinstance(coloring, Labels):
        return coloring.codes.astype(np.uint8 if len(coloring.names) <= 255 else np.uint16)
    if isinstance(coloring, Blend):
        weights = BLEND_LEVELS ** np.arange(len(coloring.names))
        codes = (coloring.levels * weights[:, None].astype(np.int32)).sum(axis=0)
        return np.where(coloring.is_known, codes, n_codes(coloring)).astype(np.uint8)
    scaled = coloring.values - np.float32(coloring.low)
    scaled *= np.float32((N_VALUE_CODES - 1) / (coloring.high - coloring.low))
    np.clip(np.rint(scaled, out=scaled), 0, N_VALUE_CODES - 1, out=scaled)
    # A value that is not known has no code among the values: it must not look like the lowest.
    return np.nan_to_num(scaled, copy=False, nan=N_VALUE_CODES).astype(np.uint8)


def n_codes(coloring: Coloring) -> int:
    """How many codes have a meaning of their own."""
    if isinstance(coloring, Labels):
        return len(coloring.names)
    return BLEND_LEVELS ** len(coloring.names) if isinstance(coloring, Blend) else N_VALUE_CODES


def blend_palette(n_genes: int) -> list[str]:
    """The colours of all mixtures of levels, by code. Light is added, on a grey that shows on white and on black."""
    base = np.array([0.80, 0.82, 0.83])
    ends = np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in BLEND_COLORS[:n_genes]])
    colors = []
    for code in range(BLEND_LEVELS**n_genes):
        strength = np.array([code // BLEND_LEVELS**k % BLEND_LEVELS for k in range(n_genes)]) / (BLEND_LEVELS - 1)
        total = strength.max()
        # Weak expression would drown in the grey; the root lifts it.
        share = total**0.6
        color = base * (1 - share) + np.clip(strength / total @ ends, 0, 1) * share if total else base
        colors.append("#" + "".join(f"{round(255 * part):02x}" for part in color))
    return colors


def color_table(coloring: Coloring, *, dark: bool = False) -> np.ndarray:
    """uint8 (n_codes + 1, 3): red, green, blue of every code; the last for cells without a value."""
    if isinstance(coloring, Labels):
        colors = [_rgb(color) for color in coloring.colors]
    elif isinstance(coloring, Blend):
        colors = [_rgb(color) for color in blend_palette(len(coloring.names))]
    else:
        stops = np.array([_rgb(c) for c in (palette.VALUES_ON_DARK if dark else palette.VALUES_ON_LIGHT)], float)
        at = np.linspace(0, len(stops) - 1, N_VALUE_CODES)
        colors = [np.interp(at, np.arange(len(stops)), stops[:, part]) for part in range(3)]
        colors = np.rint(np.array(colors).T).tolist()
    return np.array([*colors, _rgb(UNKNOWN)], np.uint8)


def clip_text(coloring: Values) -> tuple[bool, bool, str]:
    """Whether there are values below and above the colours, and the sentence that says so."""
    known = coloring.values[np.isfinite(coloring.values)]
    below, above = int((known < coloring.low).sum()), int((known > coloring.high).sum())
    ends = [f"{count:,} {word}" for count, word in ((below, "below"), (above, "above")) if count]
    return below > 0, above > 0, f"Values outside keep the end colours: {' and '.join(ends)}." if ends else ""


def _rgb(color: str) -> tuple[int, int, int]:
    """Red, green, blue of a hexadecimal colour; anything else (a translucent grey of groups set apart) becomes grey."""
    if color.startswith("#") and len(color) >= 7:
        return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
    return 200, 205, 206
