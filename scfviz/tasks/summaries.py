"""The numbers behind violins, dot plots, heatmaps, stacked bars and histograms; drawing is done elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from scfviz.errors import OptionError
from scfviz.tasks.expression import Expression, Progress, ShouldStop, find_genes, read_columns, read_mask

if TYPE_CHECKING:
    import pandas as pd

MISSING = "missing"
MAX_GROUPS = 1_000
# Widths of a violin: the density is counted on this many steps and smoothed.
VIOLIN_STEPS = 128
QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Grouping:
    """Cells in named groups.

    Attributes
    ----------
    names
        Names of the groups, in the order of the categories (else sorted); "missing" last, for cells without a
        value.
    codes
        int32 (n_obs,): number of each cell's group, -1 for cells that take no part.
    """

    names: tuple[str, ...]
    codes: np.ndarray

    @property
    def n_cells(self) -> np.ndarray:
        """Cells in each group, int64 (n_groups,)."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))

    @property
    def kept(self) -> np.ndarray:
        """Positions of the cells that take part."""
        return np.flatnonzero(self.codes >= 0)


@dataclass(frozen=True)
class GroupSummary:
    """Expression of genes in groups: the numbers of a dot plot or heatmap.

    Attributes
    ----------
    genes, groups
        Names of the columns and rows.
    n_cells
        int64 (n_groups,).
    mean
        float64 (n_groups, n_genes): mean of ln(1 + counts per 10,000) over all cells of the group.
    fraction
        float64 (n_groups, n_genes): share of cells that express the gene, 0 to 1.
    """

    genes: tuple[str, ...]
    groups: tuple[str, ...]
    n_cells: np.ndarray
    mean: np.ndarray
    fraction: np.ndarray

    def scaled(self) -> np.ndarray:
        """Means of each gene from 0 (lowest group) to 1 (highest), (n_groups, n_genes); 0 where all are alike."""
        low, high = self.mean.min(axis=0), self.mean.max(axis=0)
        return np.divide(self.mean - low, high - low, out=np.zeros_like(self.mean), where=high > low)

    def as_table(self) -> "pd.DataFrame":
        """One row per group and gene: group, gene, n_cells, mean, fraction."""
        import pandas as pd

        n_groups, n_genes = self.mean.shape
        return pd.DataFrame(
            {
                "group": np.repeat(np.array(self.groups, dtype=object), n_genes),
                "gene": np.tile(np.array(self.genes, dtype=object), n_groups),
                "n_cells": np.repeat(self.n_cells, n_genes),
                "mean": self.mean.ravel(),
                "fraction": self.fraction.ravel(),
            }
        )


@dataclass(frozen=True)
class Violin:
    """Distribution of one variable in one group.

    Attributes
    ----------
    n_cells, n_zero
        All cells with a value, and those at exactly zero.
    quantiles
        float64 (5,): lowest, quarter, median, three quarters, highest; NaN without cells.
    mean
        Mean of all values.
    at, density
        float64 (128,): positions and the share of cells per unit there (a histogram smoothed with a Gaussian); a
        single value has all its weight in one place. Empty without cells.
    """

    variable: str
    group: str
    n_cells: int
    n_zero: int
    quantiles: np.ndarray
    mean: float
    at: np.ndarray
    density: np.ndarray


@dataclass(frozen=True)
class Composition:
    """How groups are made up: the numbers of a stacked bar chart.

    Attributes
    ----------
    rows, parts
        Names of the bars and of their parts.
    counts
        int64 (n_rows, n_parts), cells.
    fractions
        float64 (n_rows, n_parts), shares of the row, 0 to 1; 0 in a row without cells.
    """

    rows: tuple[str, ...]
    parts: tuple[str, ...]
    counts: np.ndarray
    fractions: np.ndarray


@dataclass(frozen=True)
class Histogram:
    """How a column is distributed among all cells and among the selected ones.

    Attributes
    ----------
    column
        Its name.
    labels
        Names of the bars of a column of categories; empty for numbers.
    edges
        float64 (n_bars + 1,): borders of the bars of numbers; empty for categories.
    total, selected
        int64 (n_bars,), cells.
    n_missing, n_missing_selected
        Cells without a value.
    """

    column: str
    labels: tuple[str, ...]
    edges: np.ndarray
    total: np.ndarray
    selected: np.ndarray
    n_missing: int
    n_missing_selected: int


def group_cells(column: "pd.Series", mask: np.ndarray | None = None) -> Grouping:
    """Groups of cells by a column of categories, texts or truth values.

    Parameters
    ----------
    mask
        bool (n_obs,): only these cells take part; None takes all.

    Raises
    ------
    OptionError
        The column has more than 1,000 values.
    """
    import pandas as pd

    values = column if isinstance(column.dtype, pd.CategoricalDtype) else column.astype("string").astype("category")
    names = [str(name) for name in values.cat.categories]
    if len(names) > MAX_GROUPS:
        raise OptionError(
            f"The column '{column.name}' has {len(names):,} different values.",
            f"At most {MAX_GROUPS:,} groups can be shown.",
            "Choose a column with groups.",
        )
    codes = values.cat.codes.to_numpy().astype(np.int32)
    if (codes < 0).any():
        codes[codes < 0] = len(names)
        names.append(MISSING if MISSING not in names else f"{MISSING} (no value)")
    if mask is not None:
        codes[~read_mask(mask, len(codes), "The selection")] = -1
    used = np.bincount(codes[codes >= 0], minlength=len(names)) > 0
    renumbered = np.append(np.cumsum(used) - 1, -1).astype(np.int32)
    return Grouping(tuple(np.array(names, dtype=object)[used]), renumbered[codes])


def summarise_groups(
    expression: Expression,
    genes: Sequence[str],
    grouping: Grouping,
    *,
    progress: Progress | None = None,
    should_stop: ShouldStop | None = None,
) -> GroupSummary:
    """Mean and fraction expressing of genes in groups.

    Raises
    ------
    GeneError
        A gene is unknown or was not measured.
    """
    wanted = find_genes(expression, genes)
    places, back = np.unique(wanted, return_inverse=True)
    kept = grouping.kept
    codes, n_groups = grouping.codes[kept], len(grouping.names)
    members = sp.csr_matrix((np.ones(len(kept)), (codes, np.arange(len(kept)))), shape=(n_groups, len(kept)))
    sums, expressed = np.zeros((n_groups, len(places))), np.zeros((n_groups, len(places)))
    for positions, values in expression.blocks(places, cells=kept, progress=progress, should_stop=should_stop):
        at = np.searchsorted(places, positions)
        sums[:, at] = (members @ values.astype(np.float64)).toarray()
        expressed[:, at] = (members @ (values > 0).astype(np.float64)).toarray()
    n_cells = grouping.n_cells
    symbols = np.asarray(expression.genes)[wanted].astype(str)
    share = 1 / np.maximum(n_cells, 1)[:, None]
    return GroupSummary(tuple(symbols), grouping.names, n_cells, (sums * share)[:, back], (expressed * share)[:, back])


def make_violins(
    expression: Expression, genes: Sequence[str], grouping: Grouping, *, progress: Progress | None = None
) -> list[Violin]:
    """Distributions of genes (ln(1 + counts per 10,000)) in groups, gene by gene and group by group.

    Raises
    ------
    GeneError
        A gene is unknown or was not measured.
    """
    wanted, kept = find_genes(expression, genes), grouping.kept
    places, back = np.unique(wanted, return_inverse=True)
    values = read_columns(expression, places, cells=kept, progress=progress)
    violins = []
    for gene, column in zip(wanted, back, strict=True):
        dense = values[:, [column]].toarray().ravel()
        violins += violins_of(dense, str(expression.genes[gene]), grouping.names, grouping.codes[kept])
    return violins


def violins_of(values: np.ndarray, variable: str, names: Sequence[str], codes: np.ndarray) -> list[Violin]:
    """Distributions of any variable, float (n,), in groups numbered by `codes`, (n,); missing values are left out."""
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(names) + 1))
    sorted_values = np.asarray(values, dtype=np.float64)[order]
    parts = [sorted_values[low:high] for low, high in zip(bounds[:-1], bounds[1:], strict=True)]
    return [_violin(part[np.isfinite(part)], variable, name) for part, name in zip(parts, names, strict=True)]


def compose(rows: Grouping, parts: Grouping) -> Composition:
    """Cells of each part in each row, for example cell types by sample. Only cells that take part in both count."""
    both = (rows.codes >= 0) & (parts.codes >= 0)
    shape = (len(rows.names), len(parts.names))
    numbers = rows.codes[both].astype(np.int64) * shape[1] + parts.codes[both]
    counts = np.bincount(numbers, minlength=shape[0] * shape[1]).reshape(shape)
    totals = counts.sum(axis=1, keepdims=True)
    fractions = np.divide(counts, totals, out=np.zeros(shape), where=totals > 0)
    return Composition(rows.names, parts.names, counts, fractions)


def make_histogram(column: "pd.Series", mask: np.ndarray | None = None, *, n_bars: int = 40) -> Histogram:
    """Bars of a column for all cells and for the selected ones, for filters that are linked with the map.

    Parameters
    ----------
    mask
        bool (n_obs,): the selected cells; None means none are.
    n_bars
        Bars of a column of numbers; whole numbers with fewer different values get a bar each. Borders do not depend
        on the selection.

    Raises
    ------
    OptionError
        A column of texts has more than 1,000 different values.
    """
    from pandas.api import types

    mask = np.zeros(len(column), dtype=bool) if mask is None else read_mask(mask, len(column), "The selection")
    if types.is_numeric_dtype(column.dtype) and not types.is_bool_dtype(column.dtype):
        return _histogram_of_numbers(str(column.name), column.to_numpy(dtype=np.float64, na_value=np.nan), mask, n_bars)
    grouping = group_cells(column)
    missing = column.isna().to_numpy()
    names = grouping.names[:-1] if missing.any() else grouping.names
    total, selected = (
        np.bincount(grouping.codes[cells], minlength=len(names)) for cells in (~missing, mask & ~missing)
    )
    return Histogram(
        str(column.name), names, np.empty(0), total, selected, int(missing.sum()), int((missing & mask).sum())
    )


def _histogram_of_numbers(name: str, values: np.ndarray, mask: np.ndarray, n_bars: int) -> Histogram:
    finite = np.isfinite(values)
    missing = int((~finite).sum()), int((~finite & mask).sum())
    if not finite.any():
        nothing = np.zeros(0, dtype=np.int64)
        return Histogram(name, (), np.empty(0), nothing, nothing, *missing)
    low, high = values[finite].min(), values[finite].max()
    n_values = (
        int(high - low) + 1 if high - low < n_bars and (values[finite] == np.rint(values[finite])).all() else None
    )
    edges = (
        np.arange(n_values + 1) + low - 0.5
        if n_values
        else np.linspace(low, high if high > low else low + 1, n_bars + 1)
    )
    total, selected = (np.histogram(values[cells], bins=edges)[0] for cells in (finite, finite & mask))
    return Histogram(name, (), edges, total, selected, *missing)


def _violin(values: np.ndarray, variable: str, group: str) -> Violin:
    if not len(values):
        return Violin(variable, group, 0, 0, np.full(len(QUANTILES), np.nan), np.nan, np.empty(0), np.empty(0))
    quantiles = np.quantile(values, QUANTILES)
    low, high = quantiles[0], quantiles[-1]
    if high > low:
        from scipy.ndimage import gaussian_filter1d

        counts, edges = np.histogram(values, bins=VIOLIN_STEPS, range=(low, high))
        step = edges[1] - edges[0]
        # Silverman's width, from the spread without outliers
        spread = min(values.std(), (quantiles[3] - quantiles[1]) / 1.349 or np.inf)
        width = max(0.9 * spread * len(values) ** -0.2 / step, 0.5)
        at, density = (
            (edges[1:] + edges[:-1]) / 2,
            gaussian_filter1d(counts / (len(values) * step), width, mode="reflect"),
        )
    else:
        at, density = np.array([low]), np.array([1.0])
    return Violin(variable, group, len(values), int((values == 0).sum()), quantiles, float(values.mean()), at, density)
