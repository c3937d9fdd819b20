"""What a map is coloured by: a label, a gene or a measure of quality, ready to draw."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scfviz.ui.drawing import palette

MAX_CATEGORIES = 60


@dataclass(frozen=True)
class Labels:
    """Categories of cells.

    Attributes
    ----------
    title
        What the categories are, as plain text.
    codes
        int32 (n_cells,): index into `names`.
    names, colors
        One per category that is drawn.
    n_grouped
        How many small categories the last one, "other", stands for; 0 when none.
    n_own
        How many of the names are the column's own: they come first, then "other" and "no label".
    """

    title: str
    codes: np.ndarray
    names: tuple[str, ...]
    colors: tuple[str, ...]
    n_grouped: int = 0
    n_own: int = 0


@dataclass(frozen=True)
class Values:
    """A number per cell: float32 (n_cells,), NaN where it is not known, drawn between `low` and `high`.

    `ramp` names the colours, see `palette.RAMPS`.
    """

    title: str
    unit: str
    values: np.ndarray
    low: float
    high: float
    ramp: str = palette.DEFAULT_RAMP


def color_by_labels(
    title: str, labels: pd.Series, *, stored: Sequence[str] | None = None, chosen: str = palette.FILE
) -> Labels:
    """Colours for categories; more than 60 are cut to the 59 largest and "other", and cells without a label stay grey.

    Parameters
    ----------
    labels
        One per cell; numbers that stand for categories are taken as text.
    stored
        The file's own colours, in the order of its categories.
    chosen
        Which colours the visitor wants, see `palette.category_colors`.
    """
    category = as_groups(labels).astype("category")
    names = [str(name) for name in category.cat.categories]
    if isinstance(labels.dtype, pd.CategoricalDtype) is False or stored is None:
        order = sorted(range(len(names)), key=lambda i: _natural(names[i]))
    else:
        order = list(range(len(names)))
    codes = category.cat.codes.to_numpy().astype(np.int32)
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    present = [i for i in order if counts[i]]
    kept = present
    if len(present) > MAX_CATEGORIES:
        largest = set(sorted(present, key=lambda i: -counts[i])[: MAX_CATEGORIES - 1])
        kept = [i for i in present if i in largest]
    complete = stored is not None and len(stored) >= len(names)
    colors = list(palette.category_colors(len(kept), [stored[i] for i in kept] if complete else None, chosen))
    new_codes = np.full(len(names) + 1, -1, np.int32)
    new_codes[kept] = np.arange(len(kept))
    shown = [names[i] for i in kept]
    drawn = new_codes[codes]
    grouped = len(present) - len(kept)
    if grouped:
        drawn[(drawn < 0) & (codes >= 0)] = len(shown)
        shown.append(f"other ({grouped} more)")
        colors.append(palette.OTHER)
    if (codes < 0).any():
        drawn[codes < 0] = len(shown)
        shown.append("no label")
        colors.append(palette.OTHER)
    return Labels(title, drawn, tuple(shown), tuple(colors), grouped, len(kept))


def as_groups(labels: pd.Series) -> pd.Series:
    """A column as names of groups: whole numbers that were stored with a decimal point lose it."""
    if pd.api.types.is_float_dtype(labels) and is_whole(labels.to_numpy(float)):
        return labels.astype("Int64")
    return labels


def is_whole(values: np.ndarray) -> bool:
    """Whether all known values are whole numbers, so that they may stand for groups."""
    known = values[~np.isnan(values)]
    return bool(known.size) and bool((np.abs(known) < 2**53).all()) and bool((known == np.rint(known)).all())


def color_by_values(title: str, unit: str, values: np.ndarray, ramp: str = palette.DEFAULT_RAMP) -> Values:
    """Colours for numbers, clipped at the 1st and 99th percentile, so that a few extreme cells do not hide the rest."""
    values = np.asarray(values, np.float32)
    known = values[np.isfinite(values)]
    if not known.size:
        return Values(title, unit, values, 0.0, 1.0, ramp)
    low, high = (float(edge) for edge in np.percentile(known, [1, 99]))
    if high <= low:  # most cells hold one value, such as no counts of a rare gene
        low, high = float(known.min()), float(known.max())
    return Values(title, unit, values, low, high if high > low else low + 1.0, ramp)


def _natural(name: str) -> tuple[int, float, str]:
    return (0, float(name), name) if name.isdecimal() else (1, 0.0, name.casefold())
