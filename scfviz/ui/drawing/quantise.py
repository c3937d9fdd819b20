"""Colours as small codes, one or two bytes per cell, and what the codes mean: this is what travels to the browser."""

from dataclasses import dataclass

import numpy as np

from scfviz.ui.drawing import palette
from scfviz.ui.drawing.coloring import Labels, Values

N_VALUE_CODES = 255  # the 256th stands for cells without a value
BLEND_LEVELS = 6
BLEND_COLORS = (palette.MIXTURES[1], palette.MIXTURES[2], palette.MIXTURES[4])
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
    """The colours of all mixtures of levels, by code: between those of `palette.MIXTURES`."""
    corners = np.array([_rgb(color) for color in palette.MIXTURES[: 2**n_genes]], float)
    colors = []
    for code in range(BLEND_LEVELS**n_genes):
        levels = np.array([code // BLEND_LEVELS**k % BLEND_LEVELS for k in range(n_genes)]) / (BLEND_LEVELS - 1)
        strength = levels**0.6  # weak expression would drown in the grey; the root lifts it
        color = np.zeros(3)
        for corner, end in enumerate(corners):
            has = np.array([corner >> k & 1 for k in range(n_genes)], bool)
            color += end * np.where(has, strength, 1 - strength).prod()
        colors.append("#" + "".join(f"{round(part):02x}" for part in color))
    return colors


def blend_legend(blend: Blend) -> list[tuple[str, str]]:
    """(names of the genes, colour) of every mixture: single genes first, then genes found together."""
    together = sorted(range(1, 2 ** len(blend.names)), key=lambda mixture: (mixture.bit_count(), mixture))
    return [
        (" + ".join(name for k, name in enumerate(blend.names) if mixture >> k & 1), palette.MIXTURES[mixture])
        for mixture in together
    ]


def color_table(coloring: Coloring, *, dark: bool = False) -> np.ndarray:
    """uint8 (n_codes + 1, 3): red, green, blue of every code; the last for cells without a value."""
    if isinstance(coloring, Labels):
        colors = [_rgb(color) for color in coloring.colors]
    elif isinstance(coloring, Blend):
        colors = [_rgb(color) for color in blend_palette(len(coloring.names))]
    else:
        ramp = palette.RAMPS[coloring.ramp]
        stops = np.array([_rgb(c) for c in (ramp.on_dark if dark else ramp.on_light)], float)
        at = np.linspace(0, len(stops) - 1, N_VALUE_CODES)
        colors = [np.interp(at, np.arange(len(stops)), stops[:, part]) for part in range(3)]
        colors = np.rint(np.array(colors).T).tolist()
    return np.array([*colors, _rgb(UNKNOWN)], np.uint8)


def clip_text(coloring: Values) -> tuple[bool, bool, str]:
    """Whether there are values below and above the colours, and the sentence that says so."""
    known = coloring.values[~np.isnan(coloring.values)]
    below, above = int((known < coloring.low).sum()), int((known > coloring.high).sum())
    infinite = int(np.isinf(known).sum())
    ends = [f"{count:,} {word}" for count, word in ((below, "below"), (above, "above")) if count]
    more = f", {infinite:,} of them infinite" if infinite else ""
    return below > 0, above > 0, f"Values outside keep the end colours: {' and '.join(ends)}{more}." if ends else ""


def _rgb(color: str) -> tuple[int, int, int]:
    """Red, green, blue of a hexadecimal colour; anything else (a translucent grey of groups set apart) becomes grey."""
    if color.startswith("#") and len(color) >= 7:
        return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
    return 200, 205, 206
